"""Turns on the discord lane, when all goes well and when somebody changes their mind."""

from asyncio import sleep
from hashlib import sha256
from itertools import takewhile

import pytest

from app.wire.frames import Frame, FrameKind
from bots.client import reply, speaker
from tests.client_bot.platform import Platform, never, prompt, until
from tests.client_bot.stage import Running, Stage
from tests.fakes.llama import reply_text

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture
def platform(stage: Stage) -> Platform:
    return stage.platform


async def test_a_prompt_is_answered(platform: Platform, channel: int, node: Running):
    job = await platform.ask(channel)
    text = await platform.whole(job)
    assert text == reply_text(job.messages, 40)
    said = platform.said(job)
    assert said.kinds[0] == "STARTED"
    assert said.end["model"]
    assert said.end["completion_tokens"] == 40
    assert "text" not in said.end
    assert node.door.desk.replies
    await platform.say(channel, FrameKind.CLOSED, job)
    await until(lambda: not node.door.desk.replies)


async def test_a_reply_is_carried_on(platform: Platform, channel: int):
    whole = reply_text(platform.job().messages, 40)
    job = await platform.ask(channel, attempt=2, prefix=whole[:33])
    said = await platform.ended(job)
    assert said.frames[0].kind is FrameKind.STARTED
    assert said.frames[0].at == len(whole[:33].encode())
    assert whole[:33] + b"".join(one.body for one in said.deltas).decode() == whole


async def test_stop_ends_it_with_the_text_so_far(platform: Platform, channel: int, stage: Stage):
    stage.llama.options.length = 2000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await platform.say(channel, FrameKind.STOP, job)
    said = await platform.ended(job)
    assert said.end["state"] == "cancelled"
    assert said.end["sha256"] == sha256(said.text.encode()).hexdigest()
    await until(lambda: not stage.llama.streams)


async def test_a_stop_that_overtakes_its_prompt_holds(platform: Platform, channel: int, stage: Stage):
    job = platform.job()
    await platform.say(channel, FrameKind.STOP, job)
    await platform.post(channel, prompt(job))
    said = await platform.ended(job)
    assert said.end["state"] == "cancelled"
    assert said.kinds == ["END"]
    assert not stage.llama.bodies


async def test_what_is_missing_is_said_again(platform: Platform, channel: int):
    job = await platform.ask(channel)
    text = (await platform.whole(job)).encode()
    before = len(platform.said(job).frames)
    for at in (7, len(text)):
        await platform.post(channel, Frame(FrameKind.RESEND, job.turn, job.attempt, at))
        ends = len(platform.said(job).ends)
        said = await platform.ended(job, ends + 1)
        again, before = said.frames[before:], len(said.frames)
        assert b"".join(one.body for one in again if one.kind is FrameKind.DELTA) == text[at:]
        assert again[-1].kind is FrameKind.END


async def test_a_reply_that_is_done_is_kept_until_the_platform_has_it(platform: Platform, channel: int, node: Running):
    job = await platform.ask(channel)
    await platform.whole(job)
    assert [one.turn for one in node.door.desk.replies] == [job.turn]
    await platform.say(channel, FrameKind.CLOSED, job)
    await until(lambda: not node.door.desk.replies)
    await platform.post(channel, Frame(FrameKind.RESEND, job.turn, job.attempt, 0))
    await never(lambda: len(platform.said(job).ends) > 1)


async def test_closed_ends_what_nobody_wants_any_more(platform: Platform, channel: int, stage: Stage):
    stage.llama.options.length = 2000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await platform.say(channel, FrameKind.CLOSED, job)
    await until(lambda: not stage.llama.streams)
    assert not platform.said(job).ends


async def test_a_newer_attempt_takes_over(platform: Platform, channel: int, stage: Stage):
    stage.llama.options.length = 2000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    stage.llama.options.length = 30
    newer = await platform.ask(channel, turn=job.turn, attempt=2)
    await platform.whole(newer)
    assert not platform.said(job).ends
    await until(lambda: not stage.llama.streams)


async def test_a_prompt_that_comes_twice_is_answered_once(
    platform: Platform, channel: int, node: Running, stage: Stage
):
    job = await platform.ask(channel)
    await platform.whole(job)
    await platform.post(channel, prompt(job))
    await until(lambda: node.door.refused["repeat"] == 1)
    newer = await platform.ask(channel, turn=job.turn, attempt=3)
    await platform.whole(newer)
    await platform.ask(channel, turn=job.turn, attempt=2)
    await until(lambda: node.door.refused["repeat"] == 2)
    assert len(stage.llama.bodies) == 2
    assert len(platform.said(job).ends) == 1


async def test_a_long_prompt_comes_as_an_attachment(platform: Platform, channel: int, stage: Stage):
    words = "word " * 3000
    job = await platform.ask(channel, words)
    await platform.whole(job)
    assert [one["messages"][-1]["content"] for one in stage.llama.bodies] == [words]


async def test_no_more_turns_run_than_there_are_slots(platform: Platform, stage: Stage):
    stage.llama.options.slots = 8
    stage.llama.options.length = 400
    jobs = []
    for number in range(3):
        jobs.append(await platform.ask(await platform.open(f"s-{number}"), f"Prompt {number}"))
    busy = []
    while not all(platform.said(job).ends for job in jobs):
        busy.append(len(stage.llama.streams))
        await sleep(0.01)
    assert max(busy) == 2
    for job in jobs:
        await platform.whole(job)


async def test_ping_is_answered(platform: Platform):
    await platform.say(platform.control, FrameKind.PING, at=77)
    await until(lambda: any(one.kind is FrameKind.PONG and one.at == 77 for _, one, _ in platform.heard))


async def test_a_drained_node_finishes_and_takes_no_more(platform: Platform, channel: int, stage: Stage):
    stage.llama.options.length = 300
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await platform.say(platform.control, FrameKind.DRAIN)
    await until(lambda: platform.state() == "draining")
    other = await platform.ask(await platform.open("s-other"), "And why is it dark at night?")
    end = (await platform.ended(other)).end
    assert (end["state"], end["retriable"]) == ("failed", True)
    await platform.whole(job)


async def test_sigterm_hands_a_turn_on(platform: Platform, channel: int, node: Running, stage: Stage):
    stage.llama.options.length = 5000
    object.__setattr__(node.node.settings, "drain_seconds", 0.3)
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await node.stop()
    said = await platform.ended(job)
    assert (said.end["state"], said.end["retriable"]) == ("failed", True)
    assert said.end["sha256"] == sha256(said.text.encode()).hexdigest()
    assert [hello["state"] for hello in platform.hellos][-2:] == ["draining", "stopped"]


async def test_a_hello_takes_the_place_of_the_last(platform: Platform, stage: Stage, node: Running):
    await until(lambda: stage.posted(platform.control) == 1)
    hello = platform.hellos[-1]
    assert (hello["slots"], hello["busy"], hello["state"]) == (2, 0, "ready")
    assert {"model", "version", "tokens_per_second", "instance"} <= set(hello)


async def test_two_turns_in_one_channel_do_not_mix(platform: Platform, channel: int):
    jobs = [await platform.ask(channel, f"Prompt {number}") for number in range(2)]
    for job in jobs:
        assert await platform.whole(job) == reply_text(job.messages, 40)


async def test_an_attempt_that_is_closed_does_not_close_the_turn(platform: Platform, channel: int, stage: Stage):
    stage.llama.options.length = 2000
    job = await platform.ask(channel)
    await until(lambda: platform.said(job).deltas)
    await platform.say(channel, FrameKind.CLOSED, job)
    await until(lambda: not stage.llama.streams)
    stage.llama.options.length = 40
    await platform.whole(await platform.ask(channel, turn=job.turn, attempt=2))


async def test_a_silent_engine_keeps_its_lease(
    platform: Platform, channel: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reply, "QUIET_SECONDS", 1.0)
    monkeypatch.setattr(speaker, "QUIET_SECONDS", 1.0)
    job = await platform.ask(channel, "!quiet=4 Think first")
    await platform.whole(job)
    quiet = list(takewhile(lambda frame: not frame.body, platform.said(job).frames[1:]))
    assert len(quiet) >= 2
    assert {(frame.kind.name, frame.at) for frame in quiet} == {("DELTA", 0)}
