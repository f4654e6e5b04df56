"""A stage for each test, and a node on it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.api import use_api
from bots.client import door, logins
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.server import serving
from tests.client_bot.platform import NODE, Platform
from tests.client_bot.stage import KEYS, Running, Stage, connected
from tests.fakes.llama import LlamaFake, Options


@pytest.fixture
def config() -> Config:
    """Discord's limits are on; only logging in is free, since a test does in seconds what takes days."""
    return Config(identify_seconds=0.01)


@pytest.fixture
def options() -> Options:
    """How the engine behaves."""
    return Options(rate=200.0, length=40)


@pytest.fixture
async def stage(
    config: Config, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Everything but a node."""
    monkeypatch.setenv("MEATLIZARD_HOME", str(tmp_path))
    monkeypatch.setattr(logins, "GAP_SECONDS", config.identify_seconds)
    llama = LlamaFake(options)
    url = await llama.start()
    async with serving(config, Clock()) as sandbox:
        use_api(sandbox.api)
        applications = sandbox.world.store.applications.values()
        platform = Platform(sandbox.guild, KEYS)
        platform.peer = next(one.id for one in applications if one.name == "Client-Bot")
        async with connected(platform, sandbox.token("Server-Bot")):
            platform.control = await platform.open(f"node-{NODE}")
            stage = Stage(sandbox, platform, llama, url, tmp_path)
            yield stage
            # Nobody confirms any more: each test would end with that wait.
            monkeypatch.setattr(door, "CONFIRM_SECONDS", 0.3)
            monkeypatch.setattr(door, "FAREWELL_SECONDS", 0.3)
            for one in stage.running:
                if one.node._service is not None and not one.node._service.done():
                    await one.stop()
        use_api()
    await llama.stop()
    await asyncio.sleep(0)


@pytest.fixture
async def node(stage: Stage) -> Running:
    """A node that is ready."""
    return await stage.start()


@pytest.fixture
async def channel(stage: Stage) -> int:
    """A session's channel."""
    return await stage.platform.open("s-000000000001")
