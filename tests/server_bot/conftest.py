"""The sandbox, and a stage with everyone on it."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from bots.api import use_api
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.server_bot.scripted import ScriptedNode
from tests.server_bot.stage import Stage, introduce, running
from tests.support import caches
from tests.support.servers import Servers


@pytest.fixture
async def sandbox(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A Discord of our own, to which the platform's settings lead."""
    # Two connections a test, one after the other: what the identify limit guards is not what is tried here.
    async with serving(Config(limits="off")) as sandbox:
        monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", sandbox.token("Server-Bot"))
        monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", str(sandbox.guild))
        monkeypatch.setenv("MEATLIZARD_DISCORD_API", sandbox.api)
        caches.forget()
        use_api(sandbox.api)
        yield sandbox
        use_api()


@pytest.fixture
async def lonely(sandbox: Sandbox, servers: Servers) -> AsyncIterator[Stage]:
    """A stage with a node, before the Server-Bot has come."""
    introduce(sandbox)
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    node = ScriptedNode("home", sandbox.guild)
    async with running(node, sandbox.token("Client-Bot")):
        yield Stage(sandbox, client, node)
    await client.aclose()


@pytest.fixture
async def stage(lonely: Stage) -> AsyncIterator[Stage]:
    """A stage on which the Server-Bot stands, and a node that is ready."""
    async with lonely.server_bot():
        await lonely.ready()
        yield lonely
