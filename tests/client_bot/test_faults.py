"""What goes wrong on Discord, with the network, or with the node itself: nothing is lost, and nothing said twice."""

from hashlib import sha256
from typing import Any

import pytest

from app.wire.frames import FrameKind
from bots.client import door, ear
from bots.sandbox.faults import Kind
from tests.client_bot.platform import Platform, until
from tests.client_bot.stage import Running, Stage
from tests.fakes.llama import reply_text
from tests.support.hurry import hurry

MESSAGES = "/messages"


@pytest.fixture
def platform(stage: Stage) -> Platform:
    return stage.platform


@pytest.mark.parametrize("resumed", [True, False])
async def test_prompts_of_a_gap_are_picked_up(
    platform: Platform, channel: int, node: Running, stage: Stage, resumed: bool
):
    await platform.whole(await platform.ask(channel))
    if not resumed:
        stage.fault(Kind.REFUSE_RESUME)
    stage.fault(Kind.REFUSE_CONNECT, count=2)
    await stage.cut()
    fresh = await platform.open("s-opened-meanwhile")
    jobs = [await platform.ask(channel, "First"), await platform.ask(fresh, "Second")]
    for job in jobs:
        assert await platform.whole(job) == reply_text(job.messages, 40)
    assert len(stage.llama.bodies) == 3


async def test_an_event_that_is_lost_is_found_in_the_history(
    platform: Platform, channel: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "EVERY_SECONDS", 0.3)
    await stage.start()
    stage.fault(Kind.LOSE, event="MESSAGE_CREATE", channel=channel)
    job = await platform.ask(channel)
    await platform.whole(job)
    assert len(stage.llama.bodies) == 1


async def test_an_attachment_that_is_gone_keeps_nobody_behind_it(
    platform: Platform, channel: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ear, "READ_TRIES", 2)
    gone = await platform.ask(channel, "word " * 3000)
    store = stage.sandbox.world.store
    for one in [one for message in store.messages.values() for one in message.attachments]:
        store._drop_file(one.id)
    wanted = await platform.ask(channel, "Wanted")
    node = await stage.start()
    await platform.whole(wanted)
    assert not platform.said(gone).frames
    assert node.door.refused["empty"] == 1


@pytest.mark.parametrize("kind", [Kind.DUPLICATE, Kind.DELAY, Kind.REORDER])
async def test_events_that_double_or_come_late(
    platform: Platform, channel: int, node: Running, stage: Stage, kind: Kind
):
    stage.fault(kind, event="MESSAGE_CREATE", channel=channel)
    jobs = [await platform.ask(channel, f"Prompt {number}") for number in range(2)]
    for job in jobs:
        await platform.whole(job)
    assert len(stage.llama.bodies) == 2


async def test_only_what_is_still_wanted_is_picked_up(platform: Platform, channel: int, stage: Stage):
    node = await stage.start()
    await platform.whole(await platform.ask(channel))
    await node.stop()
    late = await platform.ask(await platform.open("s-late"), "Late")
    stage.sandbox.world.clock.advance(180)
    closed = await platform.ask(channel, "Closed")
    stopped = await platform.ask(channel, "Stopped")
    older = await platform.ask(channel, "Older")
    await platform.say(channel, FrameKind.CLOSED, closed)
    await platform.say(channel, FrameKind.STOP, stopped)
    newer = await platform.ask(channel, "Newer", turn=older.turn, attempt=2)
    wanted = await platform.ask(channel, "Wanted")
    again = await stage.start()
    await platform.whole(newer)
    await platform.whole(wanted)
    assert (await platform.ended(stopped)).end["state"] == "cancelled"
    assert [one["messages"][-1]["content"] for one in stage.llama.bodies[1:]] == ["Newer", "Wanted"]
    assert again.door.refused["late"] == 1
    for job in (late, closed, older):
        assert not platform.said(job).frames


async def test_a_gateway_dropped_in_mid_reply_changes_nothing(
    platform: Platform, channel: int, node: Running, stage: Stage
):
    stage.llama.options.length = 400
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    stage.fault(Kind.REFUSE_RESUME)
    await stage.cut()
    assert await platform.whole(job) == reply_text(job.messages, 400)


async def test_killed_in_mid_reply_and_started_again(platform: Platform, channel: int, stage: Stage):
    node = await stage.start()
    stage.llama.options.length = 4000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await node.kill()
    await until(lambda: not stage.llama.streams)
    said = len(platform.said(job).frames)
    stage.llama.options.length = 40
    await stage.start()
    text = platform.said(job).text
    newer = await platform.ask(channel, turn=job.turn, attempt=2, prefix=text)
    assert (await platform.ended(newer)).end["state"] == "done"
    # The attempt that was cut off is not begun again: what it would say now is not what it had said.
    assert len(platform.said(job).frames) == said


async def test_killed_before_and_after_a_reply(platform: Platform, channel: int, stage: Stage):
    node = await stage.start()
    job = await platform.ask(channel)
    await platform.whole(job)
    await node.kill()
    before = await platform.ask(channel, "Before")
    await stage.start()
    assert await platform.whole(before) == reply_text(before.messages, 40)
    assert len(platform.said(job).ends) == 1
    assert len(stage.llama.bodies) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": Kind.FAIL_BEFORE},
        {"kind": Kind.FAIL_BEFORE, "status": 503},
        {"kind": Kind.FAIL_AFTER},
        {"kind": Kind.FAIL_AFTER, "status": 503},
        {"kind": Kind.RESET_BEFORE},
        {"kind": Kind.RESET_AFTER},
    ],
    ids=str,
)
async def test_posts_that_fail_or_seem_to(
    platform: Platform, channel: int, node: Running, stage: Stage, fault: dict[str, Any]
):
    job = await platform.ask(channel)
    stage.fault(**fault, method="POST", route=MESSAGES, channel=channel)
    assert await platform.whole(job) == reply_text(job.messages, 40)
    assert stage.posted(channel) == len(platform.said(job).frames)


async def test_a_storm_of_429_is_waited_out(platform: Platform, channel: int, node: Running, stage: Stage):
    other = await platform.open("s-other")
    job = await platform.ask(channel)
    stage.fault(Kind.STORM, method="POST", route=MESSAGES, channel=channel, during=10.0)
    calm = await platform.ask(other, "Calm")
    await platform.whole(calm)
    assert not platform.said(job).ends, "a storm in one channel delays that channel only"
    assert await platform.whole(job) == reply_text(job.messages, 40)
    assert stage.invalid() <= 3


async def test_a_minute_of_429_in_mid_reply_loses_nothing(
    platform: Platform, channel: int, node: Running, stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.llama.options.length = 400
    waits = hurry(monkeypatch, stage.sandbox.world.clock)
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    stage.fault(Kind.STORM, method="POST", route=MESSAGES, channel=channel, during=60.0)
    assert await platform.whole(job) == reply_text(job.messages, 400)
    assert sum(waits.waited) > 30, "the rest of the minute when the first post met it"
    assert stage.posted(channel) == len(platform.said(job).frames)
    assert stage.invalid() <= 2


async def test_a_channel_that_is_deleted_frees_the_engine(
    platform: Platform, channel: int, node: Running, stage: Stage
):
    stage.llama.options.length = 4000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await platform.get_channel(channel).delete()
    await until(lambda: not stage.llama.streams)
    stage.llama.options.length = 40
    await platform.whole(await platform.ask(await platform.open("s-other")))
    assert stage.invalid() < 3


async def test_a_permission_that_is_taken_away_frees_the_engine(
    platform: Platform, channel: int, node: Running, stage: Stage
):
    stage.llama.options.length = 4000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    guild = platform.get_guild(platform.home)
    assert guild is not None
    bot = await guild.fetch_member(platform.peer)
    await platform.get_channel(channel).set_permissions(bot, view_channel=True, send_messages=False)
    await until(lambda: not stage.llama.streams)
    await platform.whole(await platform.ask(await platform.open("s-other"), "Short", sampling={"max_tokens": 20}))
    assert stage.invalid() < 3


@pytest.mark.parametrize("seconds", [600, -600])
async def test_a_clock_that_is_ten_minutes_off(platform: Platform, channel: int, stage: Stage, seconds: int):
    # Discord's own goes ahead, or behind: what counts is how it differs from the node's.
    stage.sandbox.world.clock.advance(seconds)
    job = await platform.ask(channel, "Missed")
    await stage.start()
    await platform.whole(job)
    await platform.whole(await platform.ask(channel, "Live"))


async def test_the_second_with_one_token_stands_down(platform: Platform, channel: int, node: Running, stage: Stage):
    second = await stage.start("second", ready=False)
    await until(lambda: second.door.stood_down)
    job = await platform.ask(channel)
    await platform.whole(job)
    assert len(stage.llama.bodies) == 1
    assert node.door.ear is not None
    assert second.door.ear is None
    assert not node.door.stood_down


async def test_a_fast_engine_is_not_held_up(platform: Platform, channel: int, node: Running, stage: Stage):
    stage.llama.options.rate, stage.llama.options.length = 5000, 5000
    job = await platform.ask(channel)
    text = await platform.whole(job)
    assert reply_text(job.messages, 5000).startswith(text)
    assert len(text) > 5000
    assert len(platform.said(job).deltas) <= 6


async def test_nothing_readable_is_kept(platform: Platform, channel: int, node: Running, stage: Stage):
    job = await platform.ask(channel, "A very private question about geckos")
    text = await platform.whole(job)
    kept = " ".join(one.content for one in stage.sandbox.world.store.messages.values())
    memory = (stage.home / "run" / "home.discord.json").read_text()
    for words in ("gecko", text[:12]):
        assert words not in kept
        assert words not in memory


async def test_a_long_reply_goes_in_few_full_frames(platform: Platform, channel: int, node: Running, stage: Stage):
    """How soon each word is shown is measured by `make bench`; what may be counted is counted here."""
    stage.llama.options.rate, stage.llama.options.length = 200, 450
    job = await platform.ask(channel)
    text = await platform.whole(job)
    said = platform.said(job)
    assert text == reply_text(job.messages, 450)
    assert said.end["sha256"] == sha256(text.encode()).hexdigest()
    deltas = [frame.body for frame in said.deltas]
    assert b"".join(deltas) == text.encode()
    assert len(deltas) <= 8, "frames are as full as the pace lets them be"
    assert stage.posted(channel) == len(said.frames)
    assert stage.invalid() == 0
