"""Nothing that was asked in Discord is left unanswered there: restarts, Discord's trouble, its limits, its deadlines."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import discord
import pytest

from app.core.db import transaction
from app.core.models import DiscordAnswer
from app.services import answers
from bots.sandbox.config import Config
from bots.sandbox.faults import Kind
from tests.discord_people.hall import Hall
from tests.support.nodes import PlayedNode
from tests.support.waiting import until_async


async def forgotten() -> None:
    """Wait until no reply is kept for being shown on."""

    def look() -> bool:
        with transaction() as tx:
            return tx.query(DiscordAnswer).count() == 0

    await until_async(lambda: asyncio.to_thread(look))


async def test_a_restart_finishes_what_was_being_shown(empty: Hall, node: PlayedNode) -> None:
    async with empty.server_bot():
        await empty.run("ask", prompt="Go on")
        writing = await node.take()
        await writing.begin()
        await writing.say("x " * 1500, "Before ")
        await empty.reads("Before")
    await writing.say("and after. ", "y " * 1000)
    async with empty.server_bot():
        await empty.reads("y y", "Writing")
        assert await writing.end()
        said = await empty.reads("stand-in")
        await forgotten()
    words = " ".join(one.content for one in said).split()
    assert [words.count(one) for one in ("x", "Before", "after.", "y")] == [1500, 1, 1, 1000]
    assert len(said) == 3


async def test_a_reply_that_ended_meanwhile_is_shown_whole(empty: Hall, node: PlayedNode) -> None:
    async with empty.server_bot():
        await empty.run("ask", prompt="Go on")
        writing = await node.take()
        await writing.begin()
        await writing.say("Begun, ")
        await empty.reads("Begun")
    await writing.say("ended.")
    assert await writing.end()
    async with empty.server_bot():
        await empty.reads("Begun, ended.", "stand-in")
        await forgotten()


async def test_a_prompt_that_was_lost_is_said_to_be(hall: Hall, monkeypatch) -> None:
    monkeypatch.setattr(answers, "LOST_AFTER", answers.LOST_AFTER * 0)
    channel = hall.bot.get_channel(next(one.id for one in hall.sandbox.world.store.channels.values() if one.name == "general"))
    shown = await channel.send("-# Asking…")
    await asyncio.to_thread(answers.begin, "01234567-89ab-cdef-0123-456789abcdef", channel.id, shown.id)
    await hall.reads("Ask again.")
    await forgotten()


async def test_one_that_cannot_be_said_to_be_lost_keeps_none_from_it(hall: Hall, monkeypatch) -> None:
    channel = hall.bot.get_channel(next(one.id for one in hall.sandbox.world.store.channels.values() if one.name == "general"))
    first, second = await channel.send("-# Asking…"), await channel.send("-# Asking…")
    edit = discord.PartialMessage.edit

    async def refused(message: discord.PartialMessage, **more: Any) -> Any:
        if message.id == first.id:
            # Discord changes nothing in a thread that was put away.
            raise discord.HTTPException(SimpleNamespace(status=400, reason="Bad Request"), {"code": 50083})
        return await edit(message, **more)

    monkeypatch.setattr(discord.PartialMessage, "edit", refused)
    monkeypatch.setattr(answers, "LOST_AFTER", answers.LOST_AFTER * 0)
    for number, shown in enumerate((first, second)):
        await asyncio.to_thread(answers.begin, f"01234567-89ab-cdef-0123-45678{number}abcdef", shown.channel.id, shown.id)
    await hall.reads("Ask again.")
    await forgotten()


async def test_two_server_bots_show_it_once(empty: Hall, node: PlayedNode) -> None:
    async with empty.server_bot(), empty.server_bot():
        await empty.run("ask", prompt="Both of you")
        await node.answer("Just one. " * 300)
        said = await empty.reads("Just one.", "stand-in")
        await forgotten()
    assert sum(one.content.count("Just one.") for one in said) == 300
    assert len(said) == 2


async def test_trouble_of_discord_loses_nothing(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Trouble")
    writing = await node.take()
    await writing.begin()
    await hall.reads("> Trouble")
    hall.stage.fault(Kind.RESET_AFTER, count=2, route="messages")
    hall.stage.fault(Kind.FAIL_AFTER, count=2, route="messages")
    await writing.say("Words " * 500)
    assert await writing.end()
    said = await hall.reads("Words", "stand-in")
    assert sum(one.content.count("Words") for one in said) == 500
    assert len(said) == 2


async def test_after_fifteen_minutes_the_bot_edits_by_itself(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Slowly")
    writing = await node.take()
    await writing.begin()
    await writing.say("Minute one. ")
    await hall.reads("Minute one.")
    hall.sandbox.world.clock.advance(20 * 60)
    await writing.say("Minute twenty.")
    assert await writing.end()
    await hall.reads("Minute one. Minute twenty.", "stand-in")


async def test_a_reply_whose_message_was_deleted_is_let_go(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Never mind")
    writing = await node.take()
    await writing.begin()
    await writing.say("One ")
    said = await hall.reads("One")
    await hall.control("messages/delete", message=str(said[0].id))
    await writing.say("two")
    await forgotten()
    assert await writing.end()
    assert hall.messages() == []


class TestWithLimits:
    """Discord's real limits."""

    @pytest.fixture
    def config(self) -> Config:
        return Config(limits="discord", identify_seconds=0.01)

    async def test_replies_in_one_channel_share_its_limit(self, hall: Hall, node: PlayedNode) -> None:
        await node.come_up(slots=4)
        for member in ("ada", "bob", "cy"):
            await hall.run("ask", member=member, prompt=f"From {member}")
        writings = [await node.take() for _ in range(3)]
        for writing in writings:
            await writing.begin()
        for number in range(12):
            for writing in writings:
                await writing.say(f"word{number} " * 20)
        for writing in writings:
            assert await writing.end()
        await hall.until(lambda: sum(one.content.count("word11 ") for one in hall.messages()) >= 3 * 19)
        await forgotten()
        states = Counter(one["status"] for one in await hall.control.get("requests"))
        assert 429 not in states
