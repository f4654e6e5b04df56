"""`/chat`: a private thread in which what its owner says is a turn, in order, and whatever was missed."""

import asyncio

import pytest

from app.services import answers, limits, session_list
from app.services.limits import Kind
from app.wire.states import Door
from bots.sandbox.faults import Kind as Fault
from bots.sandbox.faults import Order
from tests.discord_people.hall import Hall
from tests.sandbox.people import Refused
from tests.support import caches
from tests.support.nodes import PlayedNode


async def opened(hall: Hall, **options: str) -> int:
    await hall.run("chat", **options)
    await hall.whispered("Your chat is")
    return next(one.id for one in hall.sandbox.world.store.channels.values() if one.thread is not None)


async def test_each_mention_in_the_thread_is_a_turn(hall: Hall, node: PlayedNode) -> None:
    thread = await opened(hall, title="Tides")
    assert hall.bot.user is not None
    me = hall.bot.user.mention
    assert me in hall.messages(thread)[0].content
    assert hall.sandbox.world.store.channels[thread].name == "Tides"
    await hall.control.say("ada", thread, f"{me} Why are there tides?")
    await node.answer("The ", "Moon.")
    await hall.reads("The Moon.", "stand-in", channel=thread)
    await hall.control.say("ada", thread, f"And the Sun? {me}")
    writing = await node.take()
    assert [one["content"] for one in writing.job.messages[1:]] == ["Why are there tides?", "The Moon.", "And the Sun?"]
    await writing.begin()
    await writing.say("It too.")
    assert await writing.end()
    said = await hall.reads("It too.", "stand-in", channel=thread)
    assert "> " not in said[-1].content
    person = await hall.person()
    assert [one.title for one in (await asyncio.to_thread(session_list.page, person.id)).sessions] == ["Tides"]


async def test_nobody_else_is_in_the_thread(hall: Hall) -> None:
    thread = await opened(hall)
    with pytest.raises(Refused):
        await hall.control.say("bob", thread, "Let me in")


async def test_what_was_said_in_it_is_not_asked_again_elsewhere(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="For everybody")
    await node.answer("Heard by all.")
    await hall.reads("Heard by all.", "stand-in")
    thread = await opened(hall)
    await hall.run("ask", channel=thread, prompt="Between us")
    await node.answer("Kept.")
    await hall.reads("Kept.", "stand-in", channel=thread)
    await hall.run("retry")
    await node.answer("Heard once more.")
    await hall.reads("> For everybody", "Heard once more.")
    await hall.run("retry", channel=thread)
    await node.answer("Kept still.")
    await hall.reads("> Between us", "Kept still.", channel=thread)


async def test_what_is_refused_in_it_is_not_said_to_be_lost_later(hall: Hall) -> None:
    thread = await opened(hall)
    await asyncio.to_thread(limits.set_limit, "member", Kind.TURNS, 0, "test", Door.CLI)
    await hall.control.say("ada", thread, f"{hall.bot.user.mention} Why?")
    await hall.reads("0 turns at once are the limit", channel=thread)
    assert await asyncio.to_thread(answers.unfinished) == []


async def test_what_may_not_be_seen_is_said_to_be_unseen(hall: Hall) -> None:
    thread = await opened(hall)
    await hall.control.say("ada", thread, "Hello?")
    await hall.reads("I am not shown what you write", channel=thread)


async def test_with_the_intent_each_message_is_a_turn(empty: Hall, node: PlayedNode, monkeypatch) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_CONTENT", "true")
    caches.forget()
    async with empty.server_bot():
        thread = await opened(empty)
        await empty.control.say("ada", thread, "Hello!")
        await empty.control.say("ada", thread, "Still there?")
        first = await node.take()
        assert first.job.messages[-1]["content"] == "Hello!"
        await first.begin()
        await first.say("Hello you.")
        assert await first.end()
        await node.answer("Always.")
        await empty.reads("Always.", "stand-in", channel=thread)


async def test_ask_goes_on_in_the_thread(hall: Hall, node: PlayedNode) -> None:
    thread = await opened(hall)
    await hall.run("ask", channel=thread, prompt="One")
    await node.answer("Two.")
    await hall.reads("Two.", "stand-in", channel=thread)
    await hall.run("ask", channel=thread, prompt="Three")
    writing = await node.take()
    assert [one["content"] for one in writing.job.messages[1:]] == ["One", "Two.", "Three"]


async def test_what_was_said_while_the_bot_was_away_is_answered(empty: Hall, node: PlayedNode, monkeypatch) -> None:
    async with empty.server_bot() as bot:
        assert bot.user is not None
        me = bot.user.mention
        thread = await opened(empty)
    await empty.control.say("ada", thread, f"{me} Where are you?")
    # Whom a role lets in is let in by the history, too, which does not say who holds it.
    role = await empty.control("roles", name="people", permissions="0")
    await empty.control("members/role", member="ada", role=role["id"])
    monkeypatch.setenv("MEATLIZARD_DISCORD_STRANGERS", "refused")
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", f"{role['id']}=member")
    caches.forget()
    async with empty.server_bot():
        await node.answer("Here again.")
        await empty.reads("Here again.", "stand-in", channel=thread)
        assert [one.content for one in empty.messages(thread)][1:][0] == f"{me} Where are you?"
        assert len(empty.messages(thread)) == 3


async def test_it_needs_a_channel_to_make_a_thread_in(hall: Hall) -> None:
    thread = await opened(hall)
    await hall.run("chat", channel=thread)
    await hall.whispered("/chat needs a text channel")


async def test_a_limit_of_discord_is_told_in_words(hall: Hall) -> None:
    hall.sandbox.world.faults.add(Order(kind=Fault.STORM, method="POST", route="/channels/{channel}/threads", retry_after=200.0))
    await hall.run("chat")
    await hall.whispered("Discord lets the Server-Bot do that again in 200 s.")
