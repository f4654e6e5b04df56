"""`/ask`: the reply grows below the command, within Discord's limits, and ends well whatever happens."""

import asyncio

import pytest
from limits import RateLimitItemPerMinute

from app.core import redis
from app.services import limits, session_list, turns
from app.wire import names
from app.wire.states import TurnState, Verdict
from bots.sandbox.faults import Kind
from bots.server.commands.split import LIMIT
from tests.discord_people.hall import Hall
from tests.support.nodes import PlayedNode, ready


async def test_a_reply_comes_by_edits(hall: Hall, node: PlayedNode) -> None:
    told = await hall.run("ask", prompt="Why is *the* sky\nblue?")
    assert told["state"] == "answered"
    writing = await node.take()
    assert writing.job.messages[-1]["content"] == "Why is *the* sky\nblue?"
    await writing.begin()
    await writing.say("Because ")
    await hall.reads(r"> Why is \*the\* sky blue?", "Because", "Writing")
    assert list(hall.buttons(hall.messages()[-1].id)) == ["Stop"]
    await writing.say("of **scattering**.")
    assert await writing.end(model="stand-in", tokens_per_second=50.0)
    said = await hall.reads("Because of **scattering**.", "stand-in · on home · 2 tokens · 50 a second")
    assert len(said) == 1
    buttons = hall.buttons(said[0].id)
    person = await hall.person()
    session = (await asyncio.to_thread(session_list.page, person.id)).sessions[0]
    assert list(buttons) == ["Regenerate", "Continue in the browser"]
    assert buttons["Continue in the browser"].endswith(f"/s/{session.id}")
    assert said[0].flags & 4
    assert (person.role, session.title) == ("member", "Why is *the* sky blue?")


async def test_a_model_can_be_asked_for(hall: Hall, node: PlayedNode) -> None:
    await asyncio.to_thread(ready, "other", model="llama-7b")
    offered = await hall.complete("ask", "model", "", prompt="Who are you?")
    assert [one["value"] for one in offered] == ["llama-7b", "stand-in"]
    assert [one["value"] for one in await hall.complete("ask", "model", "LLAMA", prompt="x")] == ["llama-7b"]
    await hall.run("ask", prompt="Who are you?", model="llama-7b")
    other = PlayedNode("other", node.client)
    await other.answer("The other one.")
    await hall.reads("The other one.", "on other")
    await hall.run("ask", prompt="And you?", model="gpt-9")
    assert "And you?" in await hall.whispered("No node has the model 'gpt-9' now. There are: llama-7b, stand-in.")
    assert len(hall.messages()) == 1


async def test_a_long_reply_goes_on_in_more_messages(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Count")
    code = "".join(f"print({number})\n" for number in range(400))
    writing = await node.take()
    await writing.begin()
    for start in range(0, len(code), 1000):
        await writing.say(("Look:\n```python\n" if not start else "") + code[start : start + 1000])
    await writing.say("```\nThat was all.")
    assert await writing.end()
    said = await hall.reads("That was all.", "stand-in")
    assert len(said) == 3
    for one in said:
        assert len(one.content) <= LIMIT
        assert one.content.count("```") == 2
    assert [list(hall.buttons(one.id)) for one in said[:-1]] == [[], []]
    assert hall.buttons(said[-1].id)["Regenerate"]
    assert all(f"print({number})\n" in "\n".join(one.content for one in said) for number in range(400))


async def test_nobody_is_pinged_whatever_the_model_says(hall: Hall, node: PlayedNode) -> None:
    role = await hall.control("roles", name="helpers", mentionable=True)
    rude = f"@everyone @here <@{hall.id('bob')}> <@&{role['id']}> https://example.org "
    await hall.run("ask", prompt=f"Say {rude}")
    await node.answer(rude * 40)
    said = await hall.reads("example.org", "stand-in")
    assert len(said) > 1
    for one in said:
        assert (one.mentions, one.mention_roles, one.mention_everyone) == ([], [], False)
        assert one.flags & 4


async def test_where_a_prompt_waits_is_told_and_stop_ends_it(hall: Hall) -> None:
    await hall.run("ask", prompt="Anyone there?")
    said = await hall.reads("> Anyone there?", "number 1 in the queue")
    await hall.press("Stop", said[0].id)
    stopped = (await hall.reads("Stopped."))[-1]
    assert list(hall.buttons(stopped.id)) == ["Retry", "Continue in the browser"]


async def test_stop_ends_what_is_being_written_and_retry_asks_again(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Tell me a tale")
    writing = await node.take()
    await writing.begin()
    await writing.say("Once ")
    said = await hall.reads("Once")
    await hall.press("Stop", said[0].id)
    await hall.until(lambda: redis.client().hget(names.turn_meta(writing.job.turn), "stop"))
    assert await writing.say("upon ") is Verdict.STOP
    assert await writing.end(TurnState.CANCELLED)
    await hall.reads("Once upon", "Stopped.")
    await hall.press("Retry", said[0].id)
    await node.answer("There was ", "a lizard.")
    said = await hall.reads("> Tell me a tale", "There was a lizard.")
    assert len(said) == 2


async def test_a_failure_is_told_with_its_reason(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Fail")
    writing = await node.take()
    await writing.begin()
    assert await writing.end(TurnState.FAILED, reason="The engine ran out of memory.", retriable=False)
    said = await hall.reads("**It failed.** The engine ran out of memory.")
    assert list(hall.buttons(said[0].id)) == ["Retry", "Continue in the browser"]


async def test_the_buttons_are_for_whoever_asked(hall: Hall, node: PlayedNode) -> None:
    await hall.run("ask", prompt="Mine")
    said = await hall.reads("> Mine")
    await hall.press("Stop", said[0].id, member="bob")
    assert "not yours" in await hall.whispered("This turn is not here", member="bob")
    await node.answer("Still ", "here.")
    said = await hall.reads("Still here.", "stand-in")
    await hall.press("Regenerate", said[0].id, member="bob")
    await hall.until(lambda: len(hall.whispers("bob")) == 2)
    assert len(hall.messages()) == 1


async def test_what_is_refused_is_told_to_nobody_else(hall: Hall) -> None:
    await hall.run("ask", prompt="   ")
    told = await hall.whispered("The prompt is empty")
    assert told
    assert hall.messages() == []


async def test_conversations_are_not_begun_without_end(hall: Hall, node: PlayedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS", RateLimitItemPerMinute(1, 10))
    await hall.run("ask", prompt="One")
    await node.answer("Kept.")
    await hall.run("ask", prompt="Two")
    assert "Two" in await hall.whispered("Too many new sessions")
    await hall.run("chat")
    await hall.until(lambda: sum("Too many new sessions" in one for one in hall.whispers()) == 2)
    person = await hall.person()
    assert len((await asyncio.to_thread(session_list.page, person.id)).sessions) == 1


async def test_a_command_that_is_told_twice_is_one_turn(hall: Hall, node: PlayedNode) -> None:
    hall.stage.fault(Kind.DUPLICATE, event="INTERACTION_CREATE", count=1)
    await hall.run("ask", prompt="Once")
    await node.answer("Only once.")
    await hall.reads("Only once.", "stand-in")
    person = await hall.person()
    assert len((await asyncio.to_thread(session_list.page, person.id)).sessions) == 1
    assert len(hall.messages()) == 1


async def test_the_first_word_to_discord_waits_for_no_server(hall: Hall, node: PlayedNode, monkeypatch) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    submit = turns.submit_all

    def slow(*given, **more):
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return submit(*given, **more)

    monkeypatch.setattr(turns, "submit_all", slow)
    told = await hall.run("ask", prompt="Hurry")
    assert told["state"] == "answered"
    await entered.wait()
    hall.sandbox.world.clock.advance(60)
    go.set()
    await node.answer("No hurry.")
    await hall.reads("No hurry.", "stand-in")
