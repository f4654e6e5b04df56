"""A hall with everyone in it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from bots.api import use_api
from bots.sandbox import control, desk
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.discord_people.hall import Hall
from tests.sandbox.people import Control
from tests.server_bot.stage import Stage
from tests.support import caches
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE

NOBODY: Any = None
"""There is no node on Discord here: replies come by the queue lane."""


@pytest.fixture
def config() -> Config:
    """Without limits; tests of limits override it."""
    return Config(limits="off")


@pytest.fixture
async def sandbox(config: Config, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A Discord of our own, to which the platform's settings lead."""
    for module in (control, desk):
        # Three seconds in Discord; here other tests run beside.
        monkeypatch.setattr(module, "ANSWER", PATIENCE)
    async with serving(config) as sandbox:
        monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", sandbox.token("Server-Bot"))
        monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", str(sandbox.guild))
        monkeypatch.setenv("MEATLIZARD_DISCORD_API", sandbox.api)
        caches.forget()
        use_api(sandbox.api)
        yield sandbox
        use_api()


@pytest.fixture
async def empty(sandbox: Sandbox, servers: Servers) -> AsyncIterator[Hall]:
    """The guild, before the Server-Bot has come."""
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with aiohttp.ClientSession() as http:
        yield Hall(sandbox, Control(sandbox, http), Stage(sandbox, client, NOBODY))
    await client.aclose()


@pytest.fixture
async def hall(empty: Hall) -> AsyncIterator[Hall]:
    """The guild with the Server-Bot in it."""
    async with empty.server_bot():
        yield empty
