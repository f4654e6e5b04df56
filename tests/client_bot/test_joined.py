"""Both bots as they are, on one sandbox: a turn from the browser to a node that has Discord alone, and back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.core import keys
from app.services import estimate, turns
from app.wire.states import TurnState
from bots.api import use_api
from bots.client.config import ClientSettings
from bots.client.door import DiscordDoor
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.client_bot.platform import NODE
from tests.fakes.llama import LlamaFake, Options, reply_text
from tests.server_bot.stage import Stage, introduce
from tests.support import caches
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until_async
from tests.support.website import Site
from workers.inference.node import Node
from workers.inference.settings import NodeSettings


@dataclass
class Joined:
    """The platform's half, and the node's engine."""

    stage: Stage
    llama: LlamaFake


@pytest.fixture
async def joined(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Joined]:
    """A Server-Bot and a Client-Bot that know of each other."""
    llama = LlamaFake(Options(rate=50.0, length=120))
    llama_url = await llama.start()
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with serving(Config(identify_seconds=0.01)) as sandbox:
        monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", sandbox.token("Server-Bot"))
        monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", str(sandbox.guild))
        monkeypatch.setenv("MEATLIZARD_DISCORD_API", sandbox.api)
        caches.forget()
        use_api(sandbox.api)
        introduce(sandbox)
        stage = Stage(sandbox, client, None)  # type: ignore[arg-type]
        async with stage.server_bot() as bot:
            assert bot.user is not None
            node = node_of(sandbox, bot.user.id, llama_url, tmp_path)
            await asyncio.to_thread(node.start)
            await until_async(lambda: asyncio.to_thread(lambda: bool(estimate.slots())))
            yield Joined(stage, llama)
            await asyncio.to_thread(node.stop)
        use_api()
    await llama.stop()
    await client.aclose()


def node_of(sandbox: Sandbox, server_bot: int, llama_url: str, folder: Path, **more: Any) -> Node:
    """Make a node that has no other door than Discord."""
    given: dict[str, Any] = {"node": NODE, "node_keys": keys.node(NODE).dump(), "llama_url": llama_url, "slots": 2}
    node = Node(NodeSettings(_env_file=None, **(given | more)))  # type: ignore[call-arg]
    assert node.settings.redis_url is None
    client = ClientSettings(
        _env_file=None,  # type: ignore[call-arg]
        discord_token=sandbox.token("Client-Bot"),  # type: ignore[arg-type]
        discord_guild=sandbox.guild,
        discord_server_bot=server_bot,
        discord_api=sandbox.api,
    )
    node.add(DiscordDoor(node, client, NODE, node.settings.keys, folder / "home.discord.json"))
    return node


async def test_a_turn_goes_there_and_back(site: Site, ada: Member, joined: Joined) -> None:
    session = await asyncio.to_thread(ada.session)
    async with site.page(ada, session) as page:
        accepted = await page.ask("Why do geckos hold on?")
        done = await page.hear("done")
        (body,) = joined.llama.bodies
        assert page.text(accepted["turn"]) == done["text"] == reply_text(body["messages"], 120)
        assert (done["node"], done["usage"]["completion_tokens"]) == (NODE, 120)
    row = await joined.stage.turn(accepted["turn"], lambda row: row.state == TurnState.DONE)
    assert (row.lane, row.attempt) == ("discord", 1)
    assert not joined.stage.sandbox.world.store.search("gecko")
    assert joined.stage.sandbox.world.limits.invalid("127.0.0.1") == 0
    assert not joined.stage.failed


async def test_stop_frees_the_engine(site: Site, ada: Member, joined: Joined) -> None:
    joined.llama.options.length = 4000
    session = await asyncio.to_thread(ada.session)
    async with site.page(ada, session) as page:
        accepted = await page.ask("Tell me everything.")
        await page.hear("delta")
        await asyncio.to_thread(turns.stop, accepted["turn"], ada.id)
        await page.hear("cancelled")
    assert not joined.llama.streams
