"""The guild's caps: categories fill up, the longest idle channel makes room, and comes back when its session speaks."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.core import redis
from app.services import archive, channels, sessions
from app.wire import names
from app.wire.frames import FrameKind
from app.wire.states import TurnState
from bots.sandbox.records import CATEGORY
from bots.server import errands, layout
from bots.server.layout import Layout
from tests.server_bot.stage import Stage
from tests.support import tasks
from tests.support.people import Member
from tests.support.waiting import until_async


def small(stage: Stage, monkeypatch: pytest.MonkeyPatch, room: int, category: int) -> Layout:
    """Give the guild smaller caps than Discord's."""
    monkeypatch.setattr(layout, "CATEGORY_CHANNELS", category)
    stage.bot.layout = Layout(lambda: stage.bot.home, stage.bot._redis, room)  # type: ignore[misc]
    return stage.bot.layout


def here(stage: Stage) -> int:
    return len(stage.sandbox.world.store.guild_channels(stage.sandbox.guild))


async def test_a_channel_is_seen_by_the_bots_only(ada: Member, stage: Stage) -> None:
    channel = await stage.bot.layout.session(ada.session(), stage.node.user.id)
    assert channel is not None
    record = stage.sandbox.world.store.channels[channel.id]
    assert record.name.startswith("s-")
    denied = {one.id for one in record.overwrites if one.deny & 1 << 10}
    allowed = {one.id for one in record.overwrites if one.allow & 1 << 10}
    assert denied == {stage.sandbox.guild}
    assert allowed == {stage.bot.user.id, stage.node.user.id}
    again = await stage.bot.layout.session(str(record.topic).split()[-1])
    assert again is not None
    assert again.id == channel.id


async def test_categories_follow_one_another(ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small(stage, monkeypatch, 500, 3)
    made = [await plan.session(ada.session()) for _ in range(7)]
    names = [one.category.name for one in made if one and one.category]
    assert names == ["MeatLizard 1"] * 3 + ["MeatLizard 2"] * 3 + ["MeatLizard 3"]


async def test_at_the_cap_the_longest_idle_channel_makes_room(
    ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = here(stage) + 1 + 4
    plan = small(stage, monkeypatch, room, 3)
    # The order of use is the test's alone: nobody else opens a channel when the session is made.
    monkeypatch.setattr(sessions, "ask_relay", lambda *_, **__: None)
    conversations = [ada.session() for _ in range(12)]
    for session in conversations:
        assert await plan.session(session) is not None
        assert here(stage) <= room
    kept = {place.session for place in await asyncio.to_thread(channels.there) if place.session}
    assert set(conversations[-3:]) <= kept
    assert conversations[0] not in kept
    # Its session speaks again: the channel comes back, and the turn is answered there.
    turn = (await asyncio.to_thread(ada.ask, conversations[0])).turn
    reply = await stage.node.prompt()
    assert reply.job.session == conversations[0]
    await reply.started()
    await reply.say("a")
    await reply.end()
    await stage.turn(turn, lambda row: row.state == TurnState.DONE)
    assert here(stage) <= room


async def test_a_channel_in_which_a_turn_waits_is_never_removed(
    ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(ada.ask, ada.session())
    reply = await stage.node.prompt()
    plan = small(stage, monkeypatch, here(stage) + 1, 50)
    for _ in range(4):
        await plan.session(ada.session())
    assert reply.channel in stage.sandbox.world.store.channels
    await reply.started()
    await reply.say("a")
    await reply.end()
    await stage.turn(reply.turn, lambda row: row.state == TurnState.DONE)


async def test_many_at_once_open_each_channel_once(ada: Member, stage: Stage) -> None:
    conversations = [ada.session() for _ in range(5)]
    async with stage.server_bot() as second:
        await asyncio.gather(*(bot.layout.session(one) for one in conversations for bot in (stage.bot, second)))
    records = stage.sandbox.world.store.channels.values()
    topics = [one.topic for one in records if one.topic]
    assert len(set(topics)) == len(topics) == 6
    assert len([one for one in records if one.type == CATEGORY and one.name.startswith("MeatLizard")]) == 2


async def test_a_deleted_session_takes_its_channel_with_it(ada: Member, stage: Stage) -> None:
    session = ada.session()
    channel = await stage.bot.layout.session(session)
    assert channel is not None
    await asyncio.to_thread(sessions.remove, session, ada.id)
    await until_async(lambda: asyncio.sleep(0, channel.id not in stage.sandbox.world.store.channels))
    await until_async(lambda: asyncio.to_thread(lambda: channels.closed(session) is None))
    assert await asyncio.to_thread(channels.of_session, str(uuid4())) is None


async def test_a_session_that_is_closed_before_it_speaks_gets_no_channel(
    ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "ask_relay", lambda *_, **__: None)
    closed, left = ada.session(), ada.session()
    await asyncio.to_thread(archive.close, closed, ada.id)
    for session in (closed, left):
        await errands.open_session(stage.bot, session)
    opened = {place.session for place in await asyncio.to_thread(channels.there) if place.session}
    assert opened == {left}


@pytest.mark.usefixtures("sandbox")
def test_a_channel_is_made_behind_the_first_words(ada: Member) -> None:
    """Nothing of it runs while a session's first prompt, which comes with the session, waits for its first text."""
    session = ada.session()
    [message] = [json.loads(one) for one in redis.client().lrange(names.RELAY, 0, -1)]
    assert tasks.read(json.dumps(message).encode()) == (names.OPEN_SESSION, [session])
    due = datetime.fromisoformat(message["headers"]["eta"])
    assert due > datetime.now(UTC) + timedelta(seconds=names.OPEN_AFTER_SECONDS / 2)


async def test_control_frames_go_to_the_nodes_own_channel(stage: Stage) -> None:


    await errands.post_control(stage.bot, "ping", "home", at=7)
    channel, ping = await stage.node.hear(FrameKind.PING)
    assert (channel, ping.at) == (stage.node.control(), 7)
    await errands.post_control(stage.bot, "drain", "home")
    await stage.node.hear(FrameKind.DRAIN)
