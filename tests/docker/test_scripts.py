"""The shell scripts and templates: sound by shellcheck, and run here with stand-ins for launchd and systemd."""

import contextlib
import os
import plistlib
import pty
import shlex
import shutil
import stat
import subprocess
import sys
import termios
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from app.core.config import Settings
from app.local.model import SMALLEST
from app.wire import invitation
from app.wire.envelope import NodeKeys, Ring
from tests.docker import files
from workers.inference.settings import NodeSettings

SCRIPTS = sorted(files.DOCKER.glob("*.sh"))
SYSTEMS = {"macos": "Darwin", "linux": "Linux"}
#: What a path may hold and a template must survive (systemd takes no quotes in the path of a program).
ODD = "a home & 100% <of it>"


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    assert shellcheck
    ran = subprocess.run(
        [shellcheck, "-x", *SCRIPTS], cwd=files.REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout


def test_fresh_settings_are_whole_private_and_never_written_over(tmp_path):
    target = tmp_path / "platform.env"
    script = ["sh", files.DOCKER / "new-env.sh", target]
    subprocess.run(script, check=True, capture_output=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    values = dotenv_values(target)
    empty = {name for name, value in values.items() if not value}
    assert empty == {"MEATLIZARD_PUBLIC_URL"}
    assert set(values) == set(files.sample("platform.env.sample"))

    environment = files.services(files.PLATFORM)["web"]["environment"]
    filled = {name: files.filled(value, {k: v or "" for k, v in values.items()}) for name, value in environment.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ({**values, **filled}).items():
            patch.setenv(name, value or "")
        settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.ring.open(settings.ring.seal(b"x")) == b"x"

    before = target.read_bytes()
    again = subprocess.run(script, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "move it away" in again.stderr
    assert target.read_bytes() == before


class Machine:
    """A folder that stands for a user's machine: every outside program in it writes down how it was called."""

    def __init__(self, folder: Path, system: str) -> None:
        self.home = folder / "user"
        self.calls = folder / "calls"
        self.bin = folder / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        self.calls.touch()
        self.program("uname", f"echo {system}")
        self.program("id", "echo 501")
        for name in ("launchctl", "systemctl"):
            self.program(name, f'echo "{name} $*" >> {shlex.quote(str(self.calls))}')
        # Makes a virtual environment whose python notes what pip is asked for and is our own for the rest.
        python = self.bin / "venv-python"
        self.program(
            "venv-python",
            f"""
if [ "$1 $2" = "-m pip" ]; then echo "pip $*" >> {shlex.quote(str(self.calls))}; exit 0; fi
exec {shlex.quote(sys.executable)} "$@"
""",
        )
        for name in ("python3.13", "python3.12", "python3.11", "python3"):
            self.program(
                name,
                f"""
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp {shlex.quote(str(python))} "$3/bin/python"; fi
""",
            )

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, script: str, *arguments: Any, line: str = "") -> subprocess.CompletedProcess[str]:
        command = ["sh", files.DOCKER / script, *arguments]
        return subprocess.run(
            command, env=self.environment, input=line, capture_output=True, text=True, check=False, cwd=self.home
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.home)}


def invite(name: str = "attic") -> str:
    """What `meatlizard node invite` prints."""
    keys = NodeKeys.of(Ring.parse("A" * 43 + "="), name).dump()
    address = f"redis://node-{name}:pw@127.0.0.1:6379/0"
    return invitation.dump({"NODE": name, "REDIS_URL": address, "NODE_KEYS": keys, "SLOTS": "3"})


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that may be a model."""
    path = tmp_path / "it.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(SMALLEST)
    return path


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_node_is_installed_by_its_one_line(system, tmp_path, gguf):
    machine = Machine(tmp_path, SYSTEMS[system])
    home = machine.home / ODD
    ran = machine.run(f"install-node-{system}.sh", "--home", home, "--model", gguf, line=invite() + "\n")
    assert ran.returncode == 0, ran.stderr
    assert invitation.HEAD not in ran.stdout + ran.stderr

    settings_file = home / "nodes" / "attic.env"
    assert stat.S_IMODE(settings_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    settings = NodeSettings(_env_file=settings_file)
    assert (settings.node, settings.slots, settings.model) == ("attic", 3, gguf)

    calls = machine.calls.read_text().splitlines()
    asked = [call for call in calls if call.startswith("pip")]
    assert any(call.endswith("requirements/node.txt") and "--require-hashes" in call for call in asked)
    assert all("--no-deps" in call for call in asked)
    command = [str(home / "venv/bin/meatlizard"), "node", "--name", "attic", "--home", str(home)]
    if system == "macos":
        path = machine.home / "Library/LaunchAgents/meatlizard.node.attic.plist"
        plist = plistlib.loads(path.read_bytes())
        assert plist["ProgramArguments"] == command
        assert plist["Label"] == path.stem
        assert plist["KeepAlive"] is plist["RunAtLoad"] is True
        assert plist["Umask"] == 0o077
        assert plist["StandardErrorPath"] == str(home / "logs/node-attic.log")
        assert plist["ExitTimeOut"] > NodeSettings.model_fields["drain_seconds"].default + 5
        assert f"launchctl bootstrap gui/501 {path}" in calls
    else:
        path = machine.home / ".config/systemd/user/meatlizard-node-attic.service"
        unit = RawConfigParser(comment_prefixes="#")
        unit.optionxform = str  # type: ignore[assignment, method-assign]
        unit.read(path)
        # systemd's own quoting is a shell's here, but for the doubled per cent sign.
        assert shlex.split(unit["Service"]["ExecStart"].replace("%%", "%")) == command
        assert int(unit["Service"]["TimeoutStopSec"]) > NodeSettings.model_fields["drain_seconds"].default + 5
        assert "systemctl --user restart meatlizard-node-attic.service" in calls
        if analyze := shutil.which("systemd-analyze"):
            (home / "venv/bin/meatlizard").write_text("#!/bin/sh\n")
            (home / "venv/bin/meatlizard").chmod(0o755)
            verified = subprocess.run(
                [analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False
            )
            assert "meatlizard-node-attic" not in verified.stderr, verified.stderr
    assert files.verbs()["node"]
    options = {option for parameter in files.verbs()["node"].params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options


def test_a_node_without_a_model_gets_the_small_one_and_keeps_what_was_added(tmp_path):
    machine = Machine(tmp_path, "Linux")
    ran = machine.run("install-node-linux.sh", line=invite())
    assert ran.returncode == 0, ran.stderr
    settings = machine.home / ".meatlizard-node/nodes/attic.env"
    model = NodeSettings(_env_file=settings).model
    assert model is not None
    assert model.is_file()
    with settings.open("a") as file:
        file.write("MEATLIZARD_CTX_SIZE=2048\n")
    before = settings.read_bytes()
    # Run again to update, with nothing to say: the node stays who it is.
    assert machine.run("install-node-linux.sh").returncode == 0
    assert settings.read_bytes() == before
    # With a new line of its own name it keeps what a person added; with another's it is not made another node.
    assert machine.run("install-node-linux.sh", line=invite()).returncode == 0
    assert NodeSettings(_env_file=settings).ctx_size == 2048
    other = machine.run("install-node-linux.sh", line=invite("cellar"))
    assert other.returncode == 1
    assert "is the node attic already" in other.stderr
    assert [path.name for path in settings.parent.iterdir()] == ["attic.env"]


def test_a_person_is_asked_and_what_they_paste_is_not_shown(tmp_path, gguf):
    machine = Machine(tmp_path, "Linux")
    ours, theirs = pty.openpty()
    command = ["sh", files.DOCKER / "install-node-linux.sh", "--model", gguf]
    with subprocess.Popen(
        command, env=machine.environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=machine.home, text=True
    ) as process:
        os.close(theirs)
        shown = ""
        while "printed:" not in shown:
            shown += os.read(ours, 4096).decode()
        # The prompt is said before the echo ends: only what is pasted after that is hidden.
        while termios.tcgetattr(ours)[3] & termios.ECHO:
            pass
        os.write(ours, invite().encode() + b"\n")
        with contextlib.suppress(OSError):  # The last one to hold the other end has gone.
            while piece := os.read(ours, 4096):
                shown += piece.decode()
        assert process.wait(60) == 0, shown
    os.close(ours)
    assert invitation.HEAD not in shown
    assert (machine.home / ".meatlizard-node/nodes/attic.env").is_file()


@pytest.mark.parametrize(
    ("arguments", "line", "said"),
    [
        ([], "", "paste or pipe in the line"),
        ([], "redis://somewhere", "this is no invitation"),
        ([invite()], "", "others see arguments"),
        (["/an/old.env"], "", "there is no option /an/old.env"),
        (["--port", "1"], "", "there is no option --port"),
        (["--home"], "", "--home wants a folder"),
        (["--model", "/nowhere.gguf"], invite(), "cannot read /nowhere.gguf"),
    ],
)
@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_wrong_is_one_line(system, arguments, line, said, tmp_path):
    machine = Machine(tmp_path, SYSTEMS[system])
    ran = machine.run(f"install-node-{system}.sh", *arguments, line=line)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert machine.calls.read_text() == ""


def test_a_line_that_was_cut_short_is_refused(tmp_path):
    machine = Machine(tmp_path, "Linux")
    ran = machine.run("install-node-linux.sh", line=invite()[:-9])
    assert ran.returncode == 1
    assert "did not come over whole" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "systemctl" not in machine.calls.read_text()
