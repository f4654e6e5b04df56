"""Frames that are lost, doubled, out of order, changed, old, or somebody else's: none of them disturbs a reply."""

import asyncio
import time
from typing import Any

import discord
import pytest
from cryptography.fernet import Fernet

from app.core.db import transaction
from app.services import audit, channels, turns
from app.wire.envelope import NodeKeys, Ring
from app.wire.frames import Frame, FrameKind, content
from app.wire.states import TurnState
from bots.sandbox import messages
from bots.sandbox.config import Bot
from bots.sandbox.faults import Kind
from bots.sandbox.seed import add_bot
from bots.server.frames import Seen
from tests.server_bot.scripted import Reply, ScriptedNode, stray
from tests.server_bot.stage import Stage, running
from tests.support.people import Member
from tests.support.waiting import until_async


async def begun(ada: Member, stage: Stage, *pieces: str) -> Reply:
    """Bring a turn so far that its node writes."""
    await asyncio.to_thread(ada.ask, ada.session())
    reply = await stage.node.prompt()
    await reply.started()
    await reply.say(*pieces)
    return reply


async def ends_well(stage: Stage, reply: Reply) -> None:
    await reply.end()
    row = await stage.turn(reply.turn, lambda row: row.state == TurnState.DONE)
    assert row.attempt == reply.attempt
    assert await asyncio.to_thread(turns.reply, reply.turn) == reply.text
    with transaction() as tx:
        assert audit.verify(tx)[1] is None


async def test_what_the_node_never_posted_is_asked_for(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    lost = reply.delta("b")
    assert lost.at == 1
    await reply.say("c")
    _, resend = await stage.node.hear(FrameKind.RESEND)
    assert (resend.turn, resend.attempt, resend.at) == (reply.turn, 1, 1)
    await reply.again(resend.at)
    await stage.turn(reply.turn, lambda row: row.state == TurnState.DONE)
    assert await asyncio.to_thread(turns.reply, reply.turn) == "abc"


async def test_what_the_gateway_lost_is_read_from_the_history(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    stage.fault(Kind.LOSE, event="MESSAGE_CREATE", bot=stage.bot.user.id, channel=reply.channel, count=2)
    await reply.say("b", "c", "d")
    await ends_well(stage, reply)
    assert "RESEND" not in stage.posted()


async def test_a_lost_end_is_found_without_the_nodes_help(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    stage.fault(Kind.LOSE, event="MESSAGE_CREATE", bot=stage.bot.user.id, channel=reply.channel)
    await ends_well(stage, reply)


async def test_events_out_of_order_and_twice_change_nothing(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    # Before, the channel's history is read, and that is in order.
    await stage.handled(reply.channel, stage.messages(reply.channel, stage.node.user.id)[-1])
    me = stage.bot.user.id
    stage.fault(Kind.REORDER, event="MESSAGE_CREATE", bot=me, channel=reply.channel)
    await reply.say("b", "c")
    await stage.refused("out_of_order")
    stage.fault(Kind.DUPLICATE, event="MESSAGE_CREATE", bot=me, channel=reply.channel, count=2)
    await reply.say("d", "e")
    await ends_well(stage, reply)
    assert stage.audited() == ["out_of_order"]


async def test_a_frame_posted_once_more_is_refused(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a", "b")
    copy = next(one for one in reversed(stage.messages(reply.channel, stage.node.user.id)))
    await reply.node.raw(reply.channel, copy.content.partition(" ")[2])
    await stage.refused("repeated")
    await reply.say("c")
    await ends_well(stage, reply)
    assert stage.audited() == ["repeated"]


async def test_a_copy_is_known_to_the_server_bot_that_comes_after(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a", "b")
    copy = stage.messages(reply.channel, stage.node.user.id)[-1]
    await stage.handled(reply.channel, copy)
    stage.bot._seen = Seen(stage.bot._redis)  # type: ignore[misc]  # What a process that was started anew remembers itself.
    await reply.node.raw(reply.channel, copy.content.partition(" ")[2])
    await stage.refused("repeated")
    await reply.say("c")
    await ends_well(stage, reply)
    assert stage.audited() == ["repeated"]


async def test_text_that_the_node_says_again_disturbs_nothing_and_nobody(ada: Member, stage: Stage) -> None:
    """A post whose fate was unknown, or one that was asked for twice: sealed anew, it is no copy."""
    reply = await begun(ada, stage, "a", "b")
    await reply.node.post(reply.channel, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"b"))
    await stage.refused("repeated")
    await ends_well(stage, reply)
    assert stage.audited() == []


async def test_a_changed_bit_is_refused_and_audited(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    sealed = Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil").seal(stage.node.keys, reply.channel)
    for place in (1, 20, len(sealed) // 2):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        await reply.node.raw(reply.channel, changed)
    await stage.refused("forged", 3)
    await reply.say("b")
    await ends_well(stage, reply)
    assert stage.audited() == ["forged"]


async def test_a_frame_for_another_channel_is_refused(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    other = await begun(ada, stage, "x")
    # Carried over as it is, it does not open; sealed anew by the node itself, it is still the other session's turn.
    await reply.node.post(other.channel, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil"), seal_for=reply.channel)
    await stage.refused("forged")
    await reply.node.post(other.channel, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil"))
    await stage.refused("session")
    await reply.node.post(reply.channel, stray(FrameKind.HELLO))
    await stage.refused("channel")
    await ends_well(stage, reply)
    await ends_well(stage, other)
    assert sorted(stage.audited()) == ["channel", "forged", "session"]


async def test_keys_of_another_ring_open_nothing(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    stolen = NodeKeys.of(Ring.parse(Fernet.generate_key().decode()), "home")
    await reply.node.raw(reply.channel, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil").seal(stolen, reply.channel))
    await stage.refused("forged")
    await ends_well(stage, reply)
    assert stage.audited() == ["forged"]


async def test_an_old_frame_is_refused(ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = await begun(ada, stage, "a")
    real = Fernet.encrypt
    monkeypatch.setattr(Fernet, "encrypt", lambda self, data: self.encrypt_at_time(data, 1_700_000_000))
    old = Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil").seal(stage.node.keys, reply.channel)
    monkeypatch.setattr(Fernet, "encrypt", real)
    await reply.node.raw(reply.channel, old)
    await stage.refused("too_old")
    await ends_well(stage, reply)
    assert stage.audited() == ["too_old"]


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_clock_ten_minutes_off_does_no_harm(
    ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    await asyncio.to_thread(ada.ask, ada.session())
    reply = await stage.node.prompt()
    monkeypatch.setattr(Fernet, "encrypt", lambda self, data: self.encrypt_at_time(data, int(time.time()) + 60 * minutes))
    await reply.started()
    await reply.say("a", "b")
    await ends_well(stage, reply)


async def test_a_person_is_not_believed(ada: Member, stage: Stage) -> None:
    """Not even an administrator of the guild who has the node's keys."""
    reply = await begun(ada, stage, "a")
    world, sealed = stage.sandbox.world, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil").seal(stage.node.keys, reply.channel)
    owner = next(one.id for one in world.store.users.values() if one.name == "owner")
    said = {"content": content(stage.bot.user.id, sealed)}
    messages.post(world, world.store.channels[reply.channel], owner, said, {})
    await stage.refused("author")
    await reply.say("b")
    await ends_well(stage, reply)
    assert stage.audited() == ["author"]


async def test_another_bot_is_not_believed(ada: Member, stage: Stage) -> None:
    """Even one that has the node's keys and may write in the channel: only the node's own bot counts."""
    reply = await begun(ada, stage, "a")
    world = stage.sandbox.world
    guild = world.store.guilds[stage.sandbox.guild]
    add_bot(world, guild, Bot(name="Stranger", permissions=8))
    stranger = ScriptedNode("home", stage.sandbox.guild)
    async with running(stranger, stage.sandbox.token("Stranger")):
        await until_async(lambda: asyncio.sleep(0, stranger.is_ready()))
        stranger.server = stage.bot.user.id
        await stranger.post(reply.channel, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil"))
        await stage.refused("author")
        # Nor is anything believed in a channel that is none of ours.
        general = next(one.id for one in world.store.channels.values() if one.name == "general")
        await stage.node.post(general, Frame(FrameKind.DELTA, reply.turn, 1, 1, b"evil"))
        await stage.refused("channel")
    await reply.say("b")
    await ends_well(stage, reply)
    await until_async(lambda: asyncio.to_thread(lambda: sorted(stage.audited()) == ["author", "channel"]))


async def test_the_end_twice_ends_it_once_and_is_confirmed_again(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    await ends_well(stage, reply)
    await stage.node.hear(FrameKind.CLOSED)
    message = await reply.end()
    await stage.handled(reply.channel, message)
    assert await asyncio.to_thread(turns.reply, reply.turn) == "a"


async def test_a_text_that_is_not_what_its_hash_says_is_asked_for_again(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "abc")
    reply.text = "abd"
    await reply.end()
    _, resend = await stage.node.hear(FrameKind.RESEND)
    assert resend.at == 0
    await reply.again(0)
    await stage.turn(reply.turn, lambda row: row.state == TurnState.DONE)
    assert await asyncio.to_thread(turns.reply, reply.turn) == "abd"


async def test_the_watermark_never_goes_back(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    message: Any = await reply.node.post(reply.channel, reply.delta("b"))
    await stage.handled(reply.channel, message)
    await asyncio.to_thread(channels.handled, reply.channel, message.id - 1)
    place = await asyncio.to_thread(channels.at, reply.channel)
    assert place is not None
    assert place.handled >= message.id
    assert isinstance(message, discord.Message)
