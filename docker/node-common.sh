# shellcheck shell=sh
# What both node installers do: read the arguments and the invitation, make the virtual environment, join, fill a template.
# Read by install-node-macos.sh and install-node-linux.sh; sets: repository home model venv name.

say() { printf '%s\n' "$*"; }
fail() { printf 'install-node: %s\n' "$*" >&2; exit 1; }

read_arguments() { # [--home DIR] [--model FILE]
    repository=$(cd "$(dirname "$0")/.." && pwd)
    home=$HOME/.meatlizard-node
    model=
    while [ $# -gt 0 ]; do
        case $1 in
            --home) [ $# -ge 2 ] || fail "--home wants a folder"; home=$2; shift 2 ;;
            --model) [ $# -ge 2 ] || fail "--model wants a .gguf file"; model=$2; shift 2 ;;
            meatlizard-node-*) fail "an invitation is a secret, and others see arguments: paste it when asked, or pipe it in" ;;
            *) fail "there is no option $1: say, if you like, --home DIR and --model FILE" ;;
        esac
    done
    [ "$(id -u)" -ne 0 ] || fail "run this as the user who shall run the node, not as root"
    [ -z "$model" ] || [ -r "$model" ] || fail "cannot read $model"
    read_invitation
}

# Before anything is installed: who pastes it need not wait for that. Never as an argument, which `ps` shows to everybody.
read_invitation() {
    name=
    for settings in "$home"/nodes/*.env; do
        [ -r "$settings" ] || continue
        [ -z "$name" ] || fail "$home holds several nodes: choose a folder for each with --home DIR"
        name=$(basename "$settings" .env)
    done
    line=
    if [ -t 0 ]; then
        if [ -n "$name" ]; then
            printf 'Invitation (nothing: it stays the node %s): ' "$name"
        else
            printf 'Invitation, the line that "meatlizard node invite" printed: '
        fi
        trap 'stty echo; exit 1' INT TERM
        stty -echo
        read -r line || true
        stty echo
        trap - INT TERM
        echo
    else
        read -r line || true
    fi
    [ -n "$line$name" ] || fail 'paste or pipe in the line that "meatlizard node invite" printed on the platform'
    case $line in
        '' | meatlizard-node-*) ;;
        *) fail "this is no invitation of a node: paste the whole line, which begins with meatlizard-node-" ;;
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

join() { # Keeps the settings in $home/nodes, 0600, and finds a model; what a person added to them stays.
    [ -n "$line" ] || return 0
    invited=$(printf '%s\n' "$line" | "$venv/bin/python" -c 'import sys
from app.wire import errors, invitation
try:
    print(invitation.parse(sys.stdin.read()).get("NODE", ""))
except errors.BadInput as error:
    sys.exit(f"install-node: {error}")') || exit 1
    case $invited in
        '' | *[!a-z0-9-]*) fail "this invitation names no node; ask for a new one" ;;
    esac
    [ "${name:-$invited}" = "$invited" ] ||
        fail "$home is the node $name already: choose another folder for $invited with --home DIR"
    name=$invited
    printf '%s\n' "$line" | "$venv/bin/python" -m app.cli node join --home "$home" ${model:+--model "$model"} - || exit 1
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
