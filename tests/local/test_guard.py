"""A guarded program cannot outlive its parent, and is the same process the guard was."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.local import guard
from app.local.program import GUARD
from tests.local.harness import all_gone
from tests.support.waiting import PATIENCE, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")


def test_records_the_pid_that_the_program_then_has(tmp_path: Path) -> None:
    record = tmp_path / "program.pid.json"
    started = subprocess.Popen([*GUARD, "--record", str(record), "--", "sleep", "300"])
    process = psutil.Process(started.pid)
    until(lambda: process.name() == "sleep")
    found = json.loads(record.read_text())
    assert found["pid"] == started.pid
    assert process.create_time() <= found["created"] + 1
    assert record.stat().st_mode & 0o777 == 0o600
    started.kill()
    started.wait()


def test_adds_variables_from_a_file(tmp_path: Path) -> None:
    variables = tmp_path / "variables.json"
    variables.write_text('{"SECRET": "of mine"}')
    command = [*GUARD, "--environment", str(variables), "--", "sh", "-c", "echo $SECRET"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "of mine\n"


@linux
@pytest.mark.parametrize("death", ["TERM", "KILL", "INT"])
def test_dies_with_its_parent(tmp_path: Path, death: str) -> None:
    guarded = [*GUARD, "--record", str(tmp_path / "record"), "--death", death, "--", "sleep", "300"]
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({guarded!r})"])
    until(lambda: [child for child in psutil.Process(parent.pid).children() if child.name() == "sleep"])
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: all_gone(children))


@linux
def test_dies_with_its_parent_though_started_in_the_background(tmp_path: Path) -> None:
    guarded = [*GUARD, "--record", str(tmp_path / "record"), "--death", "INT", "--", "sleep", "300"]
    ignoring = f"import signal, subprocess; signal.signal(signal.SIGINT, signal.SIG_IGN); subprocess.run({guarded!r})"
    parent = subprocess.Popen([sys.executable, "-c", ignoring])
    until(lambda: [child for child in psutil.Process(parent.pid).children() if child.name() == "sleep"])
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: all_gone(children))


@linux
def test_does_not_begin_when_the_parent_is_gone_already() -> None:
    environment = os.environ | {guard.PARENT_VARIABLE: "1"}
    command = [*GUARD, "--death", "TERM", "--", "echo", "began"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ran.returncode
    assert ran.stdout == ""
