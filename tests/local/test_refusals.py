"""What is missing or broken gives one line that says what to do, and leaves nothing running."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.local import envfile, leftovers, model, ports, settings
from app.local.errors import DiskFull, HomeUnusable, ModelUnusable, PortTaken
from app.local.home import Home
from tests.local.harness import Cli

#: An account without rights, for tests that run as root.
NOBODY = 65534
#: A Python that every user can start; the one of the venv may lie in root's closed folder.
SYSTEM_PYTHON = Path("/usr/bin/python3")


def one_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith("meatlizard: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0]


def test_a_port_asked_for_and_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert "--port" in one_line(cli.run("up", "--detach", "--port", str(port), ok=False))
    assert not leftovers.records(cli.home)


def test_a_remembered_port_that_is_taken_is_changed(cli: Cli) -> None:
    cli.home.make()
    before = prepared(cli.home)
    with socket.create_server(("127.0.0.1", before.postgres_port)):
        after = prepared(cli.home)
    assert after.postgres_port != before.postgres_port
    assert after.database_password == before.database_password
    assert after.redis_url == before.redis_url
    assert prepared(cli.home) == after
    with socket.create_server(("127.0.0.1", after.web_port)), pytest.raises(PortTaken):
        prepared(cli.home, after.web_port)


def test_two_starts_at_once_do_not_pick_the_same_ports(make_cli: Callable[..., Cli]) -> None:
    one, two = make_cli("one").home, make_cli("two").home
    one.make()
    two.make()
    held = [ports.Held(), ports.Held()]
    first, second = (settings.prepare(home, None, mine) for home, mine in zip((one, two), held, strict=True))
    assert first.web_port != second.web_port
    for mine in held:
        mine.done()
    assert ports.is_free(first.web_port)


def prepared(home: Home, port: int | None = None) -> settings.Settings:
    held = ports.Held()
    try:
        return settings.prepare(home, port, held)
    finally:
        held.done()


def test_a_persons_own_lines_stay(cli: Cli) -> None:
    cli.home.make()
    prepared(cli.home)
    with cli.home.settings.open("a") as file:
        file.write("# mine\nMEATLIZARD_SYSTEM_PROMPT='Be brief; really.'\n")
    prepared(cli.home, ports.WEB_PORT + ports.WEB_TRIES)
    assert "# mine" in cli.home.settings.read_text()
    assert envfile.read(cli.home.settings)["SYSTEM_PROMPT"] == "Be brief; really."
    assert cli.home.settings.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<html>not found</html>" + bytes(model.SMALLEST)])
def test_a_model_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelUnusable, match="cut short or altered: "):
        model.check(path)


def test_an_altered_model_of_ours(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / model.FILE
    path.write_bytes(b"GGUF" + bytes(model.SMALLEST))
    monkeypatch.setenv("MEATLIZARD_MODEL", str(path))
    cli.home.make()
    found = model.find(cli.home)
    assert found == path
    with pytest.raises(ModelUnusable, match="delete it"):
        model.check(found)
    path.unlink()
    with pytest.raises(ModelUnusable, match="there is no model at"):
        model.find(cli.home)


def test_a_server_that_cannot_start_says_why(cli: Cli) -> None:
    cli.home.make()
    prepared(cli.home)
    append_only = cli.home.data / "redis" / "appendonlydir"
    append_only.mkdir(parents=True)
    (append_only / "appendonly.aof.manifest").write_text("nonsense\n")
    line = one_line(cli.run("up", "--detach", ok=False))
    assert "redis does not start" in line
    assert str(cli.home.log("redis")) in line
    assert not leftovers.records(cli.home)


def test_too_little_room(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.local.home.DISK_NEEDED", 1 << 60)
    with pytest.raises(DiskFull, match=r"free .* MB there"):
        cli.home.make()


def test_a_file_in_the_way(make_cli: Callable[..., Cli], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--home" in one_line(make_cli("file").run("up", ok=False))
    assert "--home" in one_line(make_cli("file/below").run("up", ok=False))


def test_a_home_that_cannot_be_written_down(tmp_path: Path) -> None:
    with pytest.raises(HomeUnusable, match="choose another"):
        Home.at(tmp_path / "a ;comment")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_another_users_home(make_cli: Callable[..., Cli], tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    assert "belongs to nobody: run this as nobody" in one_line(make_cli("theirs").run("up", ok=False))


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user then")
def test_all_of_it_as_an_ordinary_user(make_cli: Callable[..., Cli]) -> None:
    if not can_run_here():
        pytest.skip("no Python here that another user could start with our packages")
    folder = Path("/tmp") / f"meatlizard-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    try:
        cli = make_cli(str(folder / "my home"), python=str(SYSTEM_PYTHON), user=NOBODY)
        cli.run("up", "--detach")
        family = cli.family()
        assert {process.uids().real for process in family} == {NOBODY}
        assert cli.home.path.stat().st_mode & 0o777 == 0o700
        refused = Cli(Home.at("/proc/none"), python=str(SYSTEM_PYTHON), user=NOBODY).run("up", ok=False)
        assert "--home" in one_line(refused)
        cli.run("down")
        assert not any(process.is_running() for process in family)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def can_run_here() -> bool:
    """Whether the system's Python is of the venv's version and others can read the venv and this checkout."""
    if not SYSTEM_PYTHON.exists():
        return False
    asked = subprocess.run([SYSTEM_PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    same = re.match(r"Python (\d+\.\d+)", asked)
    if not same or same[1] != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    readable = subprocess.run(
        ["test", "-r", __file__, "-a", "-r", str(Path(sys.prefix) / "pyvenv.cfg")],
        user=NOBODY,
        group=NOBODY,
        check=False,
    )
    return readable.returncode == 0
