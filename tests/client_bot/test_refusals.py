"""What the Client-Bot does not believe: it is counted, and disturbs nothing."""

import random
import time

import discord
import pytest

from app.wire import envelope
from app.wire.frames import MAX_AGE_SECONDS, Frame, FrameKind, content
from tests.client_bot.platform import Platform, prompt, until
from tests.client_bot.stage import KEYS, Running, Stage


@pytest.fixture
def platform(stage: Stage) -> Platform:
    return stage.platform


async def test_a_changed_bit_is_refused(platform: Platform, channel: int, node: Running, stage: Stage):
    sealed = prompt(platform.job()).seal(KEYS, channel)
    chance = random.Random(3)
    for count in range(1, 5):
        place = chance.randrange(1, len(sealed) - 2)
        # Another letter of the same alphabet: Discord would not carry any byte.
        letter = "A" if sealed[place] != "A" else "B"
        await platform.raw(channel, sealed[:place] + letter + sealed[place + 1 :])
        await until(lambda count=count: node.door.refused["forged"] == count)
    await platform.whole(await platform.ask(channel))
    assert len(stage.llama.bodies) == 1


async def test_a_frame_of_another_channel_or_direction_is_refused(platform: Platform, channel: int, node: Running):
    other = await platform.open("s-other")
    await platform.raw(channel, prompt(platform.job()).seal(KEYS, other))
    await platform.raw(channel, Frame(FrameKind.PONG).seal(KEYS, channel))
    await until(lambda: node.door.refused["forged"] == 2)


async def test_an_old_frame_is_refused(
    platform: Platform, channel: int, node: Running, monkeypatch: pytest.MonkeyPatch
):
    job = platform.job()
    then = time.time() - MAX_AGE_SECONDS - 60
    with monkeypatch.context() as patch:
        patch.setattr(envelope.time, "time", lambda: then)
        sealed = prompt(job).seal(KEYS, channel)
    await platform.raw(channel, sealed)
    await until(lambda: node.door.refused["old"] == 1)


async def test_a_copy_is_refused_also_by_a_node_that_was_started_anew(
    platform: Platform, channel: int, node: Running, stage: Stage
):
    sealed = prompt(job := platform.job()).seal(KEYS, channel)
    await platform.raw(channel, sealed)
    await platform.whole(job)
    await platform.raw(channel, sealed)
    await until(lambda: node.door.refused["copied"] == 1)
    await node.stop()
    again = await stage.start()
    await platform.raw(channel, sealed)
    await until(lambda: again.door.refused["copied"] == 1)
    assert not again.door.refused["repeat"]
    assert len(stage.llama.bodies) == 1


async def test_only_the_server_bot_is_heard(platform: Platform, channel: int, node: Running, stage: Stage):
    # A person with all rights, who has copied a whole frame; and one who writes in an open channel.
    sealed = content(platform.peer, prompt(platform.job()).seal(KEYS, channel))
    assert sealed
    stage.say("owner", channel, sealed)
    await until(lambda: node.door.refused["stranger"] == 1)
    stage.say("owner", channel, "Good morning.")
    await platform.whole(await platform.ask(channel))
    assert len(stage.llama.bodies) == 1


async def test_no_privileged_intent_is_used(node: Running):
    ear = node.door.ear
    assert ear is not None
    assert ear.intents.value == discord.Intents(guilds=True, guild_messages=True).value
    assert not ear.intents.message_content


async def test_what_cannot_be_read_is_refused(platform: Platform, channel: int, node: Running):
    await platform.post(channel, Frame(FrameKind.PROMPT, platform.job().turn, 1, 0, b"{}"))
    await platform.post(channel, Frame(FrameKind.PROMPT, platform.job().turn, 1, 0, prompt(platform.job()).body))
    await until(lambda: node.door.refused["unreadable"] == 2)
    await platform.whole(await platform.ask(channel))
