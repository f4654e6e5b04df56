"""A turn whole over frames: the browser sees what it sees on the queue lane."""

import asyncio

from app.core import redis
from app.services import turns
from app.wire import names
from app.wire.frames import FrameKind
from app.wire.states import TurnState
from tests.server_bot.stage import Stage
from tests.support.people import Member
from tests.support.website import Site

REPLY = ["Der Himmel ", "ist **blau**, ", "weil 光 gestreut 🌈 wird.\n\n", "- a\n- b\n\n", "Ende."]


async def test_a_reply_comes_as_the_same_events(site: Site, ada: Member, stage: Stage) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        accepted = await page.ask("Warum ist der Himmel blau?")
        reply = await stage.node.prompt()
        assert reply.job.messages[-1]["content"] == "Warum ist der Himmel blau?"
        await reply.started()
        await reply.say(*REPLY)
        await reply.end(tokens_per_second=50.0)
        done = await page.hear("done")
        started = next(event for event in page.heard if event["event"] == "started")
        assert (started["at"], started["attempt"], started["node"], started["left_out"]) == (0, 1, "home", 0)
        assert page.text(accepted["turn"]) == "".join(REPLY) == done["text"]
        assert (done["model"], done["node"], done["usage"]["completion_tokens"]) == ("scripted", "home", 2)
        assert page.blocks[accepted["turn"]]
    await stage.node.hear(FrameKind.CLOSED)
    row = await stage.turn(accepted["turn"], lambda row: row.state == TurnState.DONE)
    assert (row.lane, row.attempt) == ("discord", 1)
    assert not stage.sandbox.world.store.search("Himmel")
    assert not stage.sandbox.world.store.search("gestreut")
    assert not stage.failed


async def test_a_stop_reaches_the_node_before_its_first_word(ada: Member, stage: Stage) -> None:
    session = ada.session()
    turn = (await asyncio.to_thread(ada.ask, session)).turn
    reply = await stage.node.prompt()

    await asyncio.to_thread(turns.stop, turn, ada.id)
    await stage.node.hear(FrameKind.STOP)
    await reply.started()
    await reply.say("So ")
    await reply.end(TurnState.CANCELLED)
    await stage.turn(turn, lambda row: row.state == TurnState.CANCELLED)
    assert await asyncio.to_thread(turns.reply, turn) == "So "


async def test_long_conversations_go_as_one_attachment(ada: Member, stage: Stage) -> None:
    session = ada.session()
    words = "Sag das noch einmal. " * 1500
    await asyncio.to_thread(ada.ask, session, words)
    reply = await stage.node.prompt()
    assert reply.job.messages[-1]["content"] == words
    assert len(stage.messages(reply.channel)) == 1
    assert not stage.sandbox.world.store.search("noch einmal")


async def test_a_failed_attempt_is_followed_by_another_that_goes_on(ada: Member, stage: Stage) -> None:
    session = ada.session()
    turn = (await asyncio.to_thread(ada.ask, session)).turn
    first = await stage.node.prompt()
    await first.started()
    await first.say("Erst ", "dies")
    await first.end(TurnState.FAILED, reason="The engine fell over.", retriable=True)
    second = await stage.node.prompt()
    assert (second.turn, second.attempt, second.job.prefix) == (turn, 2, "Erst dies")
    await second.started()
    await second.say(", dann das.")
    # The first attempt has nothing to say any more.
    await first.say(" Oder jenes.")
    await stage.refused("old_attempt")
    await second.end()
    await stage.turn(turn, lambda row: row.state == TurnState.DONE)

    assert await asyncio.to_thread(turns.reply, turn) == "Erst dies, dann das."
    assert stage.audited() == []


async def test_redis_may_forget_everything_in_the_middle_of_a_reply(ada: Member, stage: Stage) -> None:
    session = ada.session()
    turn = (await asyncio.to_thread(ada.ask, session)).turn
    reply = await stage.node.prompt()
    await reply.started()
    await reply.say("Eins ", "zwei ")
    await stage.handled(reply.channel, await reply.node.post(reply.channel, reply.delta("drei ")))
    redis.client().delete(names.turn_meta(turn), names.turn_stream(turn))
    await reply.say("vier ")
    _, resend = await stage.node.hear(FrameKind.RESEND)
    assert resend.at == 0
    await reply.again(0)
    await stage.turn(turn, lambda row: row.state == TurnState.DONE)
