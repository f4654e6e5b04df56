"""What breaks between the bots: posts that may have been made, gateways that drop, channels and rights that go away."""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

import aiohttp
import discord
import pytest

from app.core import redis
from app.services import channels, sessions, sweep, turns
from app.wire import names
from app.wire.frames import Frame, FrameKind
from app.wire.states import Door, TurnState
from bots.sandbox import channels as sandbox_channels
from bots.sandbox.faults import Kind
from bots.server import errands
from bots.server.outbox import nonce
from tests.server_bot.scripted import Reply
from tests.server_bot.stage import Stage
from tests.server_bot.test_frames import begun, ends_well
from tests.support import tasks
from tests.support.hurry import hurry
from tests.support.people import Member
from tests.support.waiting import PATIENCE, until_async

POSTS = "/channels/{channel}/messages"


def prompts(stage: Stage, reply: Reply) -> list[Any]:
    mark = nonce("prompt", reply.turn, reply.attempt, reply.channel)
    return [one for one in stage.messages(reply.channel) if one.nonce == mark]


@pytest.mark.parametrize("kind", [Kind.RESET_AFTER, Kind.RESET_BEFORE, Kind.FAIL_AFTER, Kind.FAIL_BEFORE])
async def test_a_post_whose_fate_is_unknown_is_made_once(ada: Member, stage: Stage, kind: Kind) -> None:
    stage.fault(kind, method="POST", route=POSTS, bot=stage.bot.user.id, count=2)
    await asyncio.to_thread(ada.ask, ada.session())
    reply = await stage.node.prompt()
    assert len(prompts(stage, reply)) == 1
    await reply.started()
    await reply.say("a")
    await ends_well(stage, reply)


async def test_posts_of_a_channel_keep_their_order(ada: Member, stage: Stage) -> None:
    """The first one's connection breaks, and Discord answers slowly; those that were asked for later wait for it."""
    await asyncio.to_thread(ada.ask, ada.session())
    reply = await stage.node.prompt()
    stage.fault(Kind.RESET_BEFORE, method="POST", route=POSTS, bot=stage.bot.user.id, count=2)
    stage.fault(Kind.SLOW, method="POST", route=POSTS, bot=stage.bot.user.id, count=1, seconds=0.3)
    place, peer = stage.bot.get_channel(reply.channel), stage.node.user.id
    frames = [Frame(FrameKind.RESEND, reply.turn, reply.attempt, at) for at in range(5)]
    await asyncio.gather(*(stage.bot.post(place, "home", peer, frame, frame.at) for frame in frames))
    marks = [nonce("resend", reply.turn, reply.attempt, frame.at, reply.channel) for frame in frames]
    assert [one.nonce for one in stage.messages(reply.channel) if one.nonce in marks] == marks


async def test_a_task_delivered_twice_posts_once(ada: Member, lonely: Stage) -> None:
    """The Server-Bot was killed after the post and before the acknowledgement: the broker brings the task back."""
    async with lonely.server_bot():
        await lonely.ready()
    await asyncio.to_thread(ada.ask, ada.session())
    task = await until_async(lambda: asyncio.to_thread(tasks.take, redis.client(), names.RELAY))
    while task[0] != names.POST_PROMPT:
        task = await until_async(lambda: asyncio.to_thread(tasks.take, redis.client(), names.RELAY))
    async with lonely.server_bot() as bot:
        await errands.post_prompt(bot, *task[1])
    # What was noted of it in Redis may be lost as well.
    redis.client().hdel(names.turn_meta(task[1][0]), "posted")
    async with lonely.server_bot() as bot:
        await errands.post_prompt(bot, *task[1])
        reply = await lonely.node.prompt()
        await errands.post_prompt(bot, *task[1])
        assert len(prompts(lonely, reply)) == 1
        await reply.started()
        await reply.say("a")
        await ends_well(lonely, reply)
        await errands.post_prompt(bot, *task[1])
        assert len(prompts(lonely, reply)) == 1


async def test_a_prompt_that_an_emptied_redis_lost_is_posted_by_the_next_sweep(ada: Member, lonely: Stage) -> None:
    async with lonely.server_bot():
        await lonely.ready()
    turn = (await asyncio.to_thread(ada.ask, ada.session())).turn
    redis.client().flushall()
    async with lonely.server_bot():
        assert await asyncio.to_thread(sweep.sweep) == 1
        reply = await lonely.node.prompt()
        assert (reply.turn, reply.attempt) == (turn, 1)
        await reply.started()
        await reply.say("a")
        await lonely.handled(reply.channel, lonely.messages(reply.channel, lonely.node.user.id)[-1])
        # Where it was posted before, and the node writes, that changes nothing.
        redis.client().flushall()
        assert await asyncio.to_thread(sweep.sweep) == 1
        await reply.say("b")
        _, resend = await lonely.node.hear(FrameKind.RESEND)
        await reply.again(resend.at)
        row = await lonely.turn(turn, lambda row: row.state == TurnState.DONE)
        await until_async(lambda: asyncio.to_thread(lambda: redis.client().llen(names.RELAY) == 0))
    assert row.attempt == 1
    assert await asyncio.to_thread(turns.reply, turn) == "ab"
    assert len(prompts(lonely, reply)) == 1


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_gateway_dropped_in_the_middle_of_a_reply(ada: Member, stage: Stage, resumable: bool) -> None:
    reply = await begun(ada, stage, "a")
    if not resumable:
        stage.fault(Kind.REFUSE_RESUME, bot=stage.bot.user.id)
    await stage.cut(stage.bot.user.id)
    await reply.say("b", "c", "d")
    await ends_well(stage, reply)
    counts = {key: int(value) for key, value in redis.client().hgetall(names.REFUSED).items()}
    assert counts == {}, "something was handled twice"
    assert "RESEND" not in stage.posted()


async def test_a_gateway_that_plays_dead_is_not_trusted(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a")
    for one in stage.sandbox.world.connections:
        if one.session is not None and one.session.bot == stage.bot.user.id:
            one.silent_until = asyncio.get_running_loop().time() + 3600
    await reply.say("b", "c")
    await ends_well(stage, reply)


async def test_another_server_bot_takes_over_in_the_middle(ada: Member, lonely: Stage) -> None:
    async with lonely.server_bot():
        await lonely.ready()
        reply = await begun(ada, lonely, "a")
    await reply.say("b", "c")
    async with lonely.server_bot():
        await ends_well(lonely, reply)
    assert "RESEND" not in lonely.posted()


async def test_two_server_bots_at_once_do_no_double_work(ada: Member, stage: Stage) -> None:
    async with stage.server_bot():
        replies = [await begun(ada, stage, "a") for _ in range(2)]
        for reply in replies:
            await reply.say("b", "c", "d")
        for reply in replies:
            await ends_well(stage, reply)
            assert len(prompts(stage, reply)) == 1
            await stage.node.hear(FrameKind.CLOSED)
        await stage.refused("repeated")
    made = [one for one in stage.sandbox.world.store.channels.values() if one.name.startswith(("s-", "node-", "MeatLizard"))]
    assert len({(one.name, one.topic) for one in made}) == len(made) == 5
    for reply in replies:
        ours = stage.messages(reply.channel, stage.bot.user.id)
        assert len({one.nonce for one in ours}) == len(ours)
        entries: Any = redis.client().xrange(names.turn_stream(reply.turn))
        assert len(entries) == 6  # started, four deltas, done
    assert stage.audited() == []


async def test_a_channel_deleted_by_hand_is_made_anew(ada: Member, stage: Stage) -> None:
    reply = await begun(ada, stage, "a ")
    key = names.turn_meta(reply.turn)
    await until_async(lambda: asyncio.to_thread(lambda: redis.client().hget(key, "relayed") == b"1 2"))
    await delete_by_hand(stage, reply.channel)
    second = await stage.node.prompt()
    assert (second.turn, second.attempt, second.job.prefix) == (reply.turn, 2, "a ")
    assert second.channel != reply.channel
    await second.started()
    await second.say("b")
    await ends_well(stage, second)


async def test_a_channel_deleted_while_the_bot_was_away_is_made_anew(ada: Member, lonely: Stage) -> None:
    session = ada.session()
    async with lonely.server_bot() as bot:
        await lonely.ready()
        channel = await bot.layout.session(session)
    await delete_by_hand(lonely, channel.id)
    async with lonely.server_bot():
        await asyncio.to_thread(ada.ask, session)
        reply = await lonely.node.prompt()
        assert reply.channel != channel.id
        await reply.started()
        await reply.say("a")
        await ends_well(lonely, reply)


async def test_a_channel_that_was_made_but_not_written_down_is_adopted(ada: Member, stage: Stage) -> None:
    session = ada.session()
    channel = await stage.bot.layout.session(session)
    await asyncio.to_thread(channels.lost, channel.id)
    again = await stage.bot.layout.session(session)
    assert again.id == channel.id
    # Nor is it made twice where Discord's answer was lost, and its event with it.
    other = ada.session()
    stage.fault(Kind.LOSE, event="CHANNEL_CREATE", bot=stage.bot.user.id)
    stage.fault(Kind.RESET_AFTER, method="POST", route="/guilds/{guild}/channels")
    async with asyncio.timeout(PATIENCE):
        while (found := await channel_of(stage, other)) is None:
            pass
    topics = [one.topic for one in stage.sandbox.world.store.channels.values()]
    assert topics.count(found.topic) == 1


async def test_a_permission_taken_away_fails_the_turn_and_says_why(ada: Member, stage: Stage) -> None:
    session = ada.session()
    channel = await stage.bot.layout.session(session, stage.node.user.id)
    role = next(one for one in stage.sandbox.world.store.roles.values() if one.bot == stage.bot.user.id)
    kept, role.permissions = role.permissions, 0
    record = stage.sandbox.world.store.channels[channel.id]
    overwrites, record.overwrites = record.overwrites, [one for one in record.overwrites if one.type == 0]
    turn = (await asyncio.to_thread(ada.ask, session)).turn
    row = await stage.turn(turn, lambda row: row.state == TurnState.FAILED)
    assert "permission" in str(sessions.reason(row))
    assert stage.failed == []
    # Given back, all goes on.
    role.permissions, record.overwrites = kept, overwrites
    await asyncio.to_thread(turns.retry, ada.id, session, str(uuid4()), turn, Door.WEB)
    reply = await stage.node.prompt()
    await reply.started()
    await reply.say("a")
    await ends_well(stage, reply)


async def test_a_rate_limit_delays_its_channel_only(ada: Member, stage: Stage) -> None:
    slow, quick = ada.session(), ada.session()
    channel = await stage.bot.layout.session(slow)
    stage.fault(Kind.STORM, method="POST", route=POSTS, channel=channel.id, during=8.0, retry_after=8.0)
    await asyncio.to_thread(ada.ask, slow)
    await asyncio.to_thread(ada.ask, quick)
    first = await stage.node.prompt()
    assert first.job.session == quick
    second = await stage.node.prompt()
    assert second.job.session == slow
    for reply in (first, second):
        await reply.started()
        await reply.say("a")
        await ends_well(stage, reply)


async def test_a_minute_of_429_loses_nothing(ada: Member, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    channel = await stage.bot.layout.session(session)
    waits = hurry(monkeypatch, stage.sandbox.world.clock)
    stage.fault(Kind.STORM, method="POST", route=POSTS, channel=channel.id, during=60.0)
    await asyncio.to_thread(ada.ask, session)
    reply = await stage.node.prompt()
    assert sum(waits.waited) > 30, "the rest of the minute when the first post met it"
    assert len(prompts(stage, reply)) == 1
    # One 429 told how long: nobody asked again before.
    assert stage.sandbox.world.limits.invalid("127.0.0.1") <= 2
    await reply.started()
    await reply.say("a")
    await ends_well(stage, reply)


async def channel_of(stage: Stage, session: str) -> discord.TextChannel | None:
    """Ask for a session's channel, as a task does that is tried again when the network fails it."""
    with contextlib.suppress(OSError, aiohttp.ClientError):
        return await stage.bot.layout.session(session)
    return None


async def delete_by_hand(stage: Stage, channel: int) -> None:
    """Do what an administrator does with a right click."""
    world = stage.sandbox.world
    sandbox_channels.delete(world, world.store.channels[channel])
