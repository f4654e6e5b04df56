"""A pretended Mac is kept awake while a turn runs, by that very command, and not a moment longer."""

import os
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import until
from workers.inference.awake import Awake


class Started:
    """A `caffeinate` that was started."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.running = 0

    def __call__(self, command: Sequence[str]) -> "Started":
        self.commands.append(list(command))
        self.running += 1
        return self

    def terminate(self) -> None:
        self.running -= 1

    def wait(self, seconds: float) -> None:
        pass


async def test_it_is_held_while_a_turn_runs_and_once_for_all() -> None:
    started = Started()
    awake = Awake("darwin", started)
    assert not started.commands
    async with awake.held():
        assert started.running == 1
        async with awake.held():
            assert started.running == 1
        assert started.running == 1
    assert started.running == 0
    assert started.commands == [["caffeinate", "-i", "-w", str(os.getpid())]]
    assert "-d" not in started.commands[0]
    async with awake.held():
        assert started.running == 1
    assert started.running == 0


async def test_a_turn_that_fails_lets_it_go() -> None:
    started = Started()
    with pytest.raises(RuntimeError):
        async with Awake("darwin", started).held():
            raise RuntimeError
    assert started.running == 0


async def test_other_systems_are_left_alone() -> None:
    started = Started()
    async with Awake("linux", started).held():
        assert not started.commands


async def test_a_mac_without_it_answers_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with Awake("darwin").held():
        pass


async def test_the_program_itself_is_started_and_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "caffeinate"
    program.write_text(f'#!/bin/sh\necho "$$ $*" > "{tmp_path}/told"\nexec sleep 600\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    told = tmp_path / "told"
    async with Awake("darwin").held():
        pid, _, words = until(lambda: told.exists() and told.read_text().strip()).partition(" ")
        assert words == f"-i -w {os.getpid()}"
        assert psutil.pid_exists(int(pid))
    assert not psutil.pid_exists(int(pid))
