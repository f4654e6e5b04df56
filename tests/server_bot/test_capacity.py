"""More sessions than Discord has channels, and a lively hour's worth of frames under Discord's own limits."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app.core.db import transaction
from app.core.models import Session, new_id
from app.services import channels
from app.wire.states import TurnState
from bots.api import use_api
from bots.sandbox.config import Config
from bots.sandbox.records import CATEGORY
from bots.sandbox.server import serving
from bots.server.layout import CATEGORY_CHANNELS, GUILD_CHANNELS, RESERVE
from tests.server_bot.scripted import Reply, ScriptedNode
from tests.server_bot.stage import Stage, introduce, running
from tests.support import caches
from tests.support.people import Member
from tests.support.servers import Servers

SESSIONS = 1200
AT_ONCE = 4
"""Conversations that begin to speak at one moment."""


@pytest.fixture
async def limited(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage on which Discord's own limits hold."""
    async with serving(Config(limits="discord")) as sandbox:
        monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", sandbox.token("Server-Bot"))
        monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", str(sandbox.guild))
        caches.forget()
        use_api(sandbox.api)
        introduce(sandbox)
        client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
        node = ScriptedNode("home", sandbox.guild)
        async with running(node, sandbox.token("Client-Bot")):
            stage = Stage(sandbox, client, node)
            async with stage.server_bot():
                await stage.ready()
                yield stage
        await client.aclose()
        use_api()


@pytest.mark.timeout(580)
async def test_more_sessions_than_a_guild_has_channels(ada: Member, stage: Stage) -> None:
    conversations = await asyncio.to_thread(many, ada)
    hands = asyncio.Semaphore(AT_ONCE)

    async def speak(session: str) -> None:
        async with hands:
            assert await stage.bot.layout.session(session) is not None
            assert channel_count(stage) <= GUILD_CHANNELS - RESERVE

    await asyncio.gather(*map(speak, conversations))
    records = stage.sandbox.world.store.guild_channels(stage.sandbox.guild)
    inside = Counter(one.parent for one in records if one.type != CATEGORY)
    assert max(inside.values()) <= CATEGORY_CHANNELS
    kept = {place.session for place in await asyncio.to_thread(channels.there)}
    assert set(conversations[-400:]) <= kept
    await stage.node.hello()
    turn = (await asyncio.to_thread(ada.ask, conversations[0])).turn
    reply = await stage.node.prompt()
    await reply.started()
    await reply.say("a")
    await reply.end()
    await stage.turn(turn, lambda row: row.state == TurnState.DONE)


def many(person: Member) -> list[str]:
    """Make the conversations; their channels are opened by hand."""
    with transaction() as tx:
        made = [Session(id=new_id(), user_id=UUID(person.id)) for _ in range(SESSIONS)]
        tx.add_all(made)
        return [str(one.id) for one in made]


def channel_count(stage: Stage) -> int:
    return sum(one.guild == stage.sandbox.guild for one in stage.sandbox.world.store.channels.values())


async def test_no_limit_is_ever_hit_while_four_sessions_talk(ada: Member, limited: Stage) -> None:
    """One frame a second and channel, as a node writes; what the Server-Bot adds to that must fit beside it."""
    await limited.node.hello(slots=4)
    for _ in range(4):
        await asyncio.to_thread(ada.ask, ada.session())
    replies = [await limited.node.prompt() for _ in range(4)]
    assert len({reply.channel for reply in replies}) == 4

    async def write(reply: Reply) -> None:
        await reply.started()
        for number in range(10):
            await asyncio.sleep(1.05)
            await reply.say(f"{number} ")
        await reply.end()

    await asyncio.gather(*(write(reply) for reply in replies))
    for reply in replies:
        await limited.turn(reply.turn, lambda row: row.state == TurnState.DONE)
    assert limited.sandbox.world.limits.invalid("127.0.0.1") == 0
    assert "RESEND" not in limited.posted()
