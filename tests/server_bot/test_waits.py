"""Waits for Discord's limits are counted, those that discord.py takes and those that Discord asks for; no other is made."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import discord
import pytest

from app.core import redis
from app.services import nodes, samples
from app.wire import names
from bots import waits
from bots.api import use_api
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.faults import Kind, Order
from bots.sandbox.server import Sandbox, serving
from bots.server.bot import RATE_LIMIT_SECONDS
from tests.sandbox.people import INTENTS
from tests.support.hurry import hurry
from tests.support.servers import Servers

WINDOW: Final = 3.0
"""Seconds; the sandbox's own clock decides when it is over."""
LONG: Final = 300.0
"""Seconds of a window that is not waited out."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(waits, "_tells", [found.append])
    monkeypatch.setattr(waits, "_total", [0.0])
    waits.count()
    return found


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    config = Config(limits="discord", buckets={"message create": (5, WINDOW), "typing": (3, LONG)})
    async with serving(config, Clock()) as sandbox:
        use_api(sandbox.api)
        yield sandbox
        use_api()


@pytest.fixture
async def channel(sandbox: Sandbox, told: list[float]) -> AsyncIterator[discord.PartialMessageable]:
    client = discord.Client(intents=INTENTS, max_ratelimit_timeout=RATE_LIMIT_SECONDS)
    await client.login(sandbox.token("Server-Bot"))
    general = next(one.id for one in sandbox.world.store.channels.values() if one.name == "general")
    yield client.get_partial_messageable(general)
    await client.close()


async def test_the_rest_of_a_window_is_counted_once(channel: discord.PartialMessageable, told: list[float]) -> None:
    for number in range(4):
        await channel.send(str(number))
    assert told == []
    for number in range(4):
        await channel.send(str(number))
    assert len(told) == 1
    assert told[0] > 0
    assert waits.seconds() == told[0]


async def test_a_long_window_with_room_is_used(channel: discord.PartialMessageable, told: list[float]) -> None:
    assert LONG > RATE_LIMIT_SECONDS
    await asyncio.gather(channel.typing(), channel.typing())
    await channel.typing()
    with pytest.raises(discord.RateLimited) as refused:
        await channel.typing()
    assert refused.value.retry_after > RATE_LIMIT_SECONDS
    assert sum(told) < 1


async def test_what_discord_asks_for_is_counted_as_it_says(
    channel: discord.PartialMessageable, told: list[float], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = hurry(monkeypatch, sandbox.world.clock)
    sandbox.world.faults.add(Order(kind=Kind.STORM, method="POST", during=30.0))
    await channel.send("x")
    asked = sum(hurried.waited)
    assert asked > 20
    assert max(told) == pytest.approx(asked, abs=0.1)


def test_what_a_node_waited_reaches_the_figures(servers: Servers) -> None:
    nodes.register("home", 1, "discord")
    nodes.hello("home", {"state": "ready", "slots": 1, "discord_wait": 2.5, "restarts": 3, "broker": False})
    said = {key.decode(): value.decode() for key, value in redis.client().hgetall(names.node_key("home")).items()}
    assert samples.figure(said, samples.NODE_FIGURES["node.discord_wait"]) == 2.5
    assert float(said["restarts"]) == 3
