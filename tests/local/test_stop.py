"""Whatever ends a stack, asked for or by force, nothing of it stays, and the next start goes on where it was."""

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
import pytest

from app.local import leftovers
from app.local.supervision import Supervisor
from tests.local.harness import Cli, all_gone, terminate
from tests.support.waiting import PATIENCE, until

STOP_SECONDS = 30.0
"""Within which everything must have stopped: three times the ten that people are promised, since other tests run too."""


def modes_above(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents}


def shared_memory(uid: int) -> list[str]:
    """SysV segments of that user, by the kernel's own list (its eighth column is the owner)."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if int(line.split()[7]) == uid]


def test_down_leaves_nothing_and_up_finds_all_again(cli: Cli) -> None:
    before = modes_above(cli.home.path)
    cli.run("up", "--detach")
    services, family = cli.status()["services"], cli.family()
    uid = (cli.home.data / "postgres").stat().st_uid
    ports = [c.laddr.port for process in family for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    with psycopg2.connect(services["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id int)")
    connection.close()

    began = time.monotonic()
    cli.run("down")
    assert time.monotonic() - began < STOP_SECONDS
    assert all_gone(family)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port))
    if uid != os.getuid():
        assert not shared_memory(uid)
    assert not list(cli.home.run.glob("*.pid.json"))
    assert modes_above(cli.home.path) == before
    assert "Nothing runs" in cli.run("down")
    assert "nothing runs" in cli.run("status", ok=False)
    assert '"url": null' in cli.run("status", "--json", ok=False)

    cli.run("up", "--detach")
    assert cli.status()["services"] == services
    with psycopg2.connect(services["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")


def test_two_homes_run_side_by_side(make_cli: Callable[..., Cli]) -> None:
    one, two = make_cli("one"), make_cli("two")
    starts = [cli.popen("up", "--detach") for cli in (one, two)]
    for start in starts:
        output, _ = start.communicate(timeout=120)
        assert start.returncode == 0, output
    assert one.status()["url"] != two.status()["url"]
    family = two.family()
    one.run("down")
    assert all(process.is_running() for process in family)
    two.run("down")
    assert all_gone(family)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="other systems end leftovers at the next start")
def test_a_killed_supervisor_takes_everything_along(cli: Cli) -> None:
    cli.run("up", "--detach")
    family = cli.family()
    family[0].kill()
    until(lambda: all_gone(family), STOP_SECONDS)
    cli.run("up", "--detach")
    assert all(process["state"] == "running" for process in cli.status()["processes"].values())


def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(cli: Cli) -> None:
    left = subprocess.Popen(["sleep", "300"])
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        cli.home.make()
        leftovers.write(cli.home, "worker", left.pid)
        # A record whose pid meanwhile became somebody else's: written before that process began.
        record = f'{{"pid": {stranger.pid}, "created": {psutil.Process(stranger.pid).create_time() - 60}}}'
        (cli.home.run / "beat.pid.json").write_text(record)
        assert leftovers.end(cli.home) == ["worker"]
        assert not psutil.pid_exists(left.pid)
        assert stranger.poll() is None
        assert not leftovers.records(cli.home)
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_foreground_up_takes_everything_along(cli: Cli, number: signal.Signals) -> None:
    up = cli.popen("up")
    until(lambda: leftovers.read(cli.home, leftovers.UP))
    family = cli.family()
    began = time.monotonic()
    up.send_signal(number)
    output, _ = up.communicate(timeout=PATIENCE)
    until(lambda: all_gone(family), STOP_SECONDS)
    assert time.monotonic() - began < STOP_SECONDS
    assert ("Stopped." in output) is (number != signal.SIGKILL)


def test_an_up_told_to_stop_while_it_starts_leaves_nothing(cli: Cli) -> None:
    up = cli.popen("up")
    until(lambda: leftovers.read(cli.home, leftovers.SUPERVISOR))
    family = cli.family()
    terminate(up)
    assert up.returncode == 130
    assert all_gone(family)


def test_a_crashed_process_is_started_again_and_said_so(cli: Cli) -> None:
    up = cli.popen("up")
    assert up.stdout
    until(lambda: leftovers.read(cli.home, leftovers.UP))
    for name in ("worker", "redis", "postgres"):
        supervisor = Supervisor.connect(cli.home)
        assert supervisor
        os.kill(supervisor.processes()[name].pid, signal.SIGKILL)
        said = ""
        while f"{name} runs again" not in said:
            line = up.stdout.readline()
            assert line, said
            said += line
        assert f"{name} stopped (terminated by SIGKILL); starting it again" in said
    terminate(up)
