"""The engine's process: which one is run, when it is started again, and that it never outlives the node."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tenacity import AsyncRetrying, RetryCallState

from tests.inference.conftest import REPOSITORY, ask, hear, running, until
from tests.support.waiting import PATIENCE
from workers.inference.engine import (
    Engine,
    EngineCrashed,
    EngineMisconfigured,
    EngineNotReady,
    EngineSettings,
    EngineState,
    ModelUnusable,
    supervisor,
)
from workers.inference.engine.record import EngineRecord

#: Starts an engine in a process of its own and prints what it made of it.
NODE = """
import asyncio, sys
from pathlib import Path
from workers.inference.engine import Engine, EngineSettings
async def main():
    home, model, server = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    engine = Engine(EngineSettings(node="home", run_dir=home, log_path=home / "llama.log", model=model,
        ctx_size=512, llama_server=Path(server) if server else None))
    await engine.start()
    print(engine.health().pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def note(settings: EngineSettings) -> dict[str, object]:
    """What the node wrote about its engine."""
    content: dict[str, object] = json.loads((settings.run_dir / "home.engine.json").read_text())
    return content


async def test_a_killed_engine_is_started_again(settings: EngineSettings) -> None:
    async with running(settings) as engine:
        pid = engine.health().pid
        assert pid is not None
        assert note(settings)["pid"] == pid
        assert note(settings)["state"] == "ready"
        os.kill(pid, signal.SIGKILL)
        await until(lambda: engine.state is not EngineState.ready)
        await engine.start()
        health = engine.health()
        assert health.pid not in (None, pid)
        assert health.restarts == 1
        assert "killed" in health.last_error
        assert (await hear(engine, ask("Hello", max_tokens=2))).text
    assert not (settings.run_dir / "home.engine.json").exists()
    assert engine.health().state == "stopped"
    with pytest.raises(EngineNotReady):
        await hear(engine, ask("Hello"))


async def test_stop_ends_the_process_and_leaves_no_key(settings: EngineSettings, llama_server: Path) -> None:
    settings = replace(settings, llama_server=llama_server)
    async with running(settings) as engine:
        pid = engine.health().pid
        assert pid is not None
        assert (settings.run_dir / "home.engine.json").stat().st_mode & 0o777 == 0o600
        await engine.stop()
        assert not psutil.pid_exists(pid)
    assert list(settings.run_dir.iterdir()) == []


async def test_the_engine_dies_with_a_killed_node(settings: EngineSettings) -> None:
    await _kill_a_node(settings, "")


async def test_llama_server_dies_with_a_killed_node(settings: EngineSettings, llama_server: Path) -> None:
    await _kill_a_node(settings, str(llama_server))


async def _kill_a_node(settings: EngineSettings, server: str) -> None:
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, str(settings.run_dir), str(settings.model), server,
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert node.stdout is not None
    while not (line := await node.stdout.readline()).strip().isdigit():
        assert line, "the node ended before its engine was ready"
    engine = psutil.Process(int(line))
    node.kill()
    await node.wait()
    await until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


async def test_a_program_that_is_slow_to_list_its_options_is_asked_again(
    settings: EngineSettings, llama_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that starved for some seconds the node gave up for good (fault suite, seed 101)."""
    slow, asked = tmp_path / "slow-llama-server", tmp_path / "asked"
    help_ = f'if [ "$1" = --help ]; then [ -e "{asked}" ] && exec echo --metrics; : > "{asked}"; exec sleep 600; fi'
    slow.write_text(f'#!/bin/sh\n{help_}\nexec "{llama_server}" "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(supervisor, "HELP_SECONDS", 0.5)
    async with running(replace(settings, llama_server=slow)) as engine:
        assert engine.state is EngineState.ready
        assert asked.exists()


async def test_where_the_kernel_does_not_help_the_guard_stays(tmp_path: Path) -> None:
    """What happens on macOS: the guard keeps watching, passes signals on and ends as its child did."""
    guard = Path(supervisor.__file__).with_name("guard.py")
    script = (
        "import subprocess, sys, os, time\n"
        f"child = subprocess.Popen([sys.executable, {str(guard)!r}, '--stay', str(os.getpid()),"
        " sys.executable, '-c', 'import time, os; print(os.getpid(), flush=True); time.sleep(600)'])\n"
        "sys.exit(child.wait())"
    )
    for kill in (True, False):
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
        assert parent.stdout is not None
        held = psutil.Process(int(await parent.stdout.readline()))
        if kill:
            parent.kill()
        else:
            held.send_signal(signal.SIGABRT)
        await until(lambda held=held: not held.is_running() or held.status() == psutil.STATUS_ZOMBIE)
        assert await parent.wait() in (-signal.SIGKILL, 256 - signal.SIGABRT)


async def test_an_orphan_of_an_earlier_start_is_ended_first(settings: EngineSettings, llama_server: Path) -> None:
    orphan = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    record = EngineRecord(settings.run_dir, "home")
    record.write(orphan.pid, psutil.Process(orphan.pid).create_time(), 1, "ready")
    async with running(replace(settings, llama_server=llama_server)):
        await asyncio.wait_for(orphan.wait(), PATIENCE)


async def test_another_process_with_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    record = EngineRecord(tmp_path, "home")
    record.write(os.getppid(), 1.0, 1, "ready")
    assert record.process() is None
    record.path.write_text("not json")
    assert record.process() is None


async def test_llama_server_from_path_gets_what_was_asked(
    settings: EngineSettings, llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(llama_server.parent), prepend=":")
    async with running(replace(settings, slots=3, ngl=7)) as engine:
        assert (await hear(engine, ask("Hello", max_tokens=5))).end is not None
        assert engine.health().slots == 3
        pid = engine.health().pid
        assert pid is not None
        line = " ".join(psutil.Process(pid).cmdline())
        key = engine.supervisor.client._headers["Authorization"].split()[1]  # type: ignore[union-attr]
    assert re.search(r"-ngl 7 --parallel 3 --ctx-size 1536 .*--kv-unified --kv-unified-per-slot 512", line)
    assert "--host 127.0.0.1" in line
    assert key not in line


async def test_a_server_that_makes_less_than_asked_is_refused(settings: EngineSettings) -> None:
    engine = Engine(replace(settings, slots=1, ctx_size=16_384))
    with pytest.raises(EngineMisconfigured, match=r"at most 8192 tokens.*MEATLIZARD_CTX_SIZE"):
        await engine.start()
    assert engine.state is EngineState.failed
    await engine.stop()


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "does not exist"), (b"nonsense" * 9, "not a GGUF"), (b"GGUF\3\0", "cut short"), (b"", "not a GGUF")],
)
async def test_an_unusable_model_is_said_at_once(
    settings: EngineSettings, tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    engine = Engine(replace(settings, model=path))
    with pytest.raises(ModelUnusable, match=f"{why}.*MEATLIZARD_MODEL") as caught:
        await engine.start()
    assert "\n" not in str(caught.value)
    assert engine.state is EngineState.failed
    await engine.stop()


async def test_a_model_cut_in_the_middle_fails_without_restarts(settings: EngineSettings, tmp_path: Path) -> None:
    path = tmp_path / "half.gguf"
    assert settings.model is not None
    with settings.model.open("rb") as whole:
        path.write_bytes(whole.read(20_000_000))
    engine = Engine(replace(settings, model=path))
    with pytest.raises(ModelUnusable) as caught:
        await engine.start()
    assert engine.health().restarts == 0
    assert "corrupted or incomplete" in caught.value.report()
    await engine.stop()


async def test_a_program_that_does_not_run_is_said_at_once(settings: EngineSettings, tmp_path: Path) -> None:
    engine = Engine(replace(settings, llama_server=tmp_path / "nowhere"))
    with pytest.raises(EngineMisconfigured, match="MEATLIZARD_LLAMA_SERVER"):
        await engine.start()
    await engine.stop()


def test_pauses_grow_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    state = RetryCallState(AsyncRetrying(), None, (), {})
    pauses = []
    for state.attempt_number in range(1, 12):
        pauses.append(supervisor.PAUSE(state))
    assert [int(pause) for pause in pauses[:7]] == [1, 2, 4, 8, 16, 32, 60]
    assert max(pauses) <= 61


async def test_crashing_again_and_again_is_degraded_with_the_last_lines(
    settings: EngineSettings, llama_server: Path
) -> None:
    broken = llama_server.with_name("llama-server.broken")
    broken.write_text("GGML_ASSERT(the stars) failed")
    engine = Engine(replace(settings, llama_server=llama_server))
    with pytest.raises(EngineCrashed, match="5 times in 10 minutes") as caught:
        await engine.start()
    assert engine.state is EngineState.degraded
    assert caught.value.log[-1] == "GGML_ASSERT(the stars) failed"
    # It may come back by itself.
    broken.unlink()
    await until(lambda: engine.state is EngineState.ready)
    assert (await hear(engine, ask("Hello", max_tokens=2))).text
    await engine.stop()


async def test_lack_of_memory_leads_to_less_context(
    settings: EngineSettings, llama_server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CRASHES", 3)
    llama_server.with_name("llama-server.broken").write_text("E ggml: failed to allocate buffer for kv cache")
    engine = Engine(replace(settings, llama_server=llama_server, ctx_size=8192))
    with pytest.raises(EngineCrashed, match=r"out of memory.*MEATLIZARD_CTX_SIZE"):
        await engine.start()
    await engine.stop()
    asked = (llama_server.parent / "argv").read_text()
    assert re.search(r"--kv-unified-per-slot (4096|2048|1024)\b", asked)
