"""`meatlizard node` as a process that is given nothing but Discord, once with nothing else within its reach."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from app.wire.frames import FrameKind
from tests.client_bot import island
from tests.client_bot.platform import NODE, until
from tests.client_bot.stage import KEYS, Stage
from tests.fakes.llama import reply_text
from tests.support.waiting import PATIENCE


@dataclass
class Process:
    """A node's process, and what it has written."""

    child: asyncio.subprocess.Process
    log: Path

    async def stop(self) -> int:
        """As a supervisor stops it."""
        self.child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self.child.wait()


def write_settings(stage: Stage) -> None:
    """Write the node's file: its name, its keys, Discord and the engine, and not a word of any server."""
    file = stage.home / "nodes" / f"{NODE}.env"
    file.parent.mkdir(parents=True)
    client = stage.client()
    lines = {
        "NODE": NODE,
        "NODE_KEYS": KEYS.dump(),
        "LLAMA_URL": stage.llama_url,
        "DISCORD_TOKEN": client.discord_token.get_secret_value(),
        "DISCORD_GUILD": client.discord_guild,
        "DISCORD_SERVER_BOT": client.discord_server_bot,
        "DISCORD_API": client.discord_api,
    }
    file.write_text("".join(f'MEATLIZARD_{name}="{value}"\n' for name, value in lines.items()))
    file.chmod(0o600)


@asynccontextmanager
async def process(stage: Stage, *before: str) -> AsyncIterator[Process]:
    """Start the command, within whatever `before` puts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEATLIZARD_")}
    log = stage.home / "node.log"
    with log.open("ab") as file:
        child = await asyncio.create_subprocess_exec(
            *before,
            *(sys.executable, "-m", "app.cli", "node", "--name", NODE, "--home", str(stage.home)),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield Process(child, log)
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def answers(stage: Stage, running: Process) -> None:
    """Hold that the process takes a turn and ends in good order."""
    platform = stage.platform
    await until(lambda: platform.state() == "ready" or running.child.returncode is not None)
    assert running.child.returncode is None, running.log.read_text()
    channel = await platform.open(f"s-{uuid4().hex[:12]}")
    job = await platform.ask(channel)
    assert await platform.whole(job) == reply_text(job.messages, 40)
    await platform.say(channel, FrameKind.CLOSED, job)
    assert await running.stop() == 0, running.log.read_text()
    try:
        await until(lambda: platform.state() == "stopped")
    except TimeoutError:
        pytest.fail(f"The node did not say that it stops: {[one['state'] for one in platform.hellos]}\n{running.log.read_text()}")


async def test_discord_is_enough(stage: Stage):
    write_settings(stage)
    async with process(stage) as running:
        await answers(stage, running)
        said = running.log.read_text()
        assert "Traceback" not in said
        assert stage.client().discord_token.get_secret_value() not in said


def test_no_server_of_the_platform_is_loaded():
    probe = "import sys, app.node; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not {"celery", "kombu", "redis", "sqlalchemy", "boto3"} & set(found.stdout.split())


async def test_killed_and_started_again_it_answers_what_it_missed(stage: Stage):
    write_settings(stage)
    channel = await stage.platform.open("s-000000000001")
    async with process(stage) as running:
        await until(lambda: stage.platform.state() == "ready")
        stage.llama.options.length = 4000
        job = await stage.platform.ask(channel)
        await until(lambda: stage.platform.said(job).deltas)
        running.child.kill()
        await running.child.wait()
    stage.llama.options.length = 40
    missed = await stage.platform.ask(channel, "Missed")
    async with process(stage) as running:
        await stage.platform.whole(missed)
        assert not stage.platform.said(job).ends
        assert await running.stop() == 0


async def test_no_lane_at_all_is_one_line(stage: Stage):
    write_settings(stage)
    file = stage.home / "nodes" / f"{NODE}.env"
    kept = [line for line in file.read_text().splitlines() if "DISCORD" not in line]
    file.write_text("\n".join(kept))
    async with process(stage) as running:
        assert await running.child.wait() == 1
    assert "MEATLIZARD_DISCORD_TOKEN" in running.log.read_text()
    assert running.log.read_text().count("\n") == 1


@pytest.fixture
def possible() -> None:
    """Skip where no network namespace may be made."""
    made = subprocess.run([*island.WHOLE, "true"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")


@pytest.mark.usefixtures("possible")
async def test_where_nothing_but_discord_can_be_reached(stage: Stage):
    write_settings(stage)
    bridge, port = stage.home / "bridge", int(stage.sandbox.url.rpartition(":")[2])
    head = await island.bridge_head(bridge, port)
    start = [sys.executable, "-m", "tests.client_bot.island", str(bridge), str(port)]
    async with process(stage, *island.WHOLE, *start) as running:
        await answers(stage, running)
    head.close()
    # The engine that answered was the island's own.
    assert not stage.llama.bodies
