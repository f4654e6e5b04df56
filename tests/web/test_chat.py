"""The chat socket: every byte once, over reconnects, second pages and stops."""

import asyncio
import json
import random
from uuid import uuid4

import pytest

from app.core import redis
from app.services import dispatch, sessions, turns
from app.web import socket
from app.wire import names
from app.wire.errors import Unavailable
from app.wire.names import turn_channel
from app.wire.states import TurnState
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.waiting import PATIENCE, until_async
from tests.support.website import Site

REPLY = ["Der Himmel ", "ist **blau**, ", "weil 光 ", "gestreut 🌈 ", "wird.\n\n", "- a\n", "- b\n\n", "Ende", " é."]


async def test_a_reply_is_shown_once_and_kept(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        accepted = await page.ask("Warum ist der Himmel blau?")
        assert accepted["title"] == "Warum ist der Himmel blau?"
        assert accepted["parent"] is None
        await node.answer(*REPLY)
        done = await page.hear("done")
        assert page.text(accepted["turn"]) == "".join(REPLY)
        assert done["at"] == len("".join(REPLY).encode())
        assert done["text"] == "".join(REPLY)
        assert "<strong>blau</strong>" in done["html"]
        assert done["parent"] == accepted["message"]
        assert page.blocks[accepted["turn"]], "no block was finished while the reply was written"
        started = next(event for event in page.heard if event["event"] == "started")
        assert (started["at"], started["attempt"], started["node"], started["left_out"]) == (0, 1, "home", 0)
        assert page.kinds()[-1] == "done"
    async with site.browser(ada) as browser:
        shown = (await browser.get(f"/api/sessions/{session}")).json()
    assert [message["text"] for message in shown["messages"]] == ["Warum ist der Himmel blau?", "".join(REPLY)]
    assert shown["turns"] == []


@pytest.mark.parametrize("seed", range(5))
async def test_every_byte_once_over_reconnects(site: Site, ada: Member, node: PlayedNode, seed: int) -> None:
    """The page goes away and comes back at any moment, standing wherever its last event left it."""
    chance = random.Random(seed)
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("Sag etwas."))["turn"]
    writing = await node.take()
    await writing.begin()
    shown, left = bytearray(), list(REPLY)
    while left:
        async with site.page(ada, session) as page:
            await page.resume(turn, bytes(shown))
            for _ in range(chance.randint(0, 3)):
                if left:
                    await writing.say(left.pop(0))
            if chance.random() < 0.7 and len(writing.reply.text.encode()) > len(shown):
                await page.hear("delta")
            shown = page.shown[turn]
    async with site.page(ada, session) as page:
        await page.resume(turn, bytes(shown))
        assert await writing.end()
        await page.hear("done")
        assert page.text(turn) == "".join(REPLY)


async def test_resume_after_the_end_tells_the_end(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("Sag etwas."))["turn"]
        await node.answer(*REPLY)
        await page.hear("done")
    async with site.page(ada, session) as page:
        await page.resume(turn, b"".join(piece.encode() for piece in REPLY[:2]))
        rest, done = await page.next(), await page.next()
        assert (rest["event"], rest["text"]) == ("delta", "".join(REPLY[2:]))
        assert (done["event"], done["text"]) == ("done", "".join(REPLY))


async def test_resume_in_the_middle_of_a_character_breaks_nothing(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("Sag etwas."))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.say("光光光")
        await page.hear("delta")
        await page.send(type="resume", turn=turn, at=4)
        await page.send(type="resume", turn=turn, at=1 << 40)
        assert await writing.end()
        # Either of them may send what it likes meanwhile; the end has all.
        async with asyncio.timeout(PATIENCE):
            while (done := json.loads(await page.connection.recv()))["event"] != "done":
                continue
        assert done["text"] == "光光光"


async def test_the_same_prompt_twice_is_one_turn(site: Site, ada: Member, node: PlayedNode) -> None:
    identity = str(uuid4())
    async with site.page(ada, ada.session()) as page:
        first = await page.ask("Once.", identity=identity)
        second = await page.ask("Once.", identity=identity)
        assert (first["turn"], first["message"]) == (second["turn"], second["message"])
        await node.answer("Yes.")
        await page.hear("done")
        assert page.text(first["turn"]) == "Yes."


async def test_another_page_of_the_session_sees_the_turn(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as one, site.page(ada, session) as other:
        await other.send(type="ping")
        await other.hear("pong")
        accepted = await one.ask("Who hears me?")
        seen = await other.hear("accepted")
        assert (seen["id"], seen["turn"], seen["text"]) == (accepted["id"], accepted["turn"], "Who hears me?")
        await node.answer("Both.")
        await one.hear("done")
        await other.hear("done")
        assert one.text(accepted["turn"]) == other.text(accepted["turn"]) == "Both."


async def test_the_second_prompt_goes_on_below_the_reply(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        await page.ask("First?")
        await node.answer("One.")
        done = await page.hear("done")
        second = await page.ask("Second?", parent=done["message"])
        assert second["parent"] == done["message"]
        writing = await node.take()
        said = [(message["role"], message["content"]) for message in writing.job.messages]
        assert said[1:] == [("user", "First?"), ("assistant", "One."), ("user", "Second?")]


async def test_stop_while_it_runs_keeps_the_text(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Go on for ever."))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.say("And ", "so ")
        await page.hear("delta")
        await page.send(type="stop", turn=turn)
        async with asyncio.timeout(PATIENCE):
            while await writing.say("on ") != "stop":
                await asyncio.sleep(0.01)
        await writing.end(TurnState.CANCELLED)
        cancelled = await page.hear("cancelled")
        assert cancelled["message"]
        assert page.text(turn) == cancelled["text"] == writing.reply.text


async def test_stop_while_it_waits(site: Site, ada: Member, servers: object) -> None:
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Nobody is here."))["turn"]
        assert (await page.hear("queued"))["position"] == 1
        await page.send(type="stop", turn=turn)
        assert (await page.hear("cancelled"))["message"] is None


async def test_places_are_told_as_they_change(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        asked = [(await page.ask(f"Number {number}."))["turn"] for number in range(4)]
        await page.hear("queued", turn=asked[3], position=2)
        await node.answer("One.")
        # A worker hears so of the change (tests/workers), and tells.
        assert await node.client.lrange(names.QUEUE_CHANGED, 0, -1) == [b"1"]
        await asyncio.to_thread(dispatch.announce_places)
        await page.hear("queued", turn=asked[3], position=1)


async def test_a_failed_turn_can_be_tried_again(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Fail."))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.end(TurnState.FAILED, reason="The model file is broken.")
        failed = await page.hear("failed")
        assert (failed["reason"], failed["retry"]) == ("The model file is broken.", True)
        identity = str(uuid4())
        await page.send(type="retry", id=identity, turn=turn)
        again = await page.hear("accepted", id=identity)
        assert again["turn"] != turn
        assert again["message"] == failed["parent"]
        await node.answer("Better.")
        await page.hear("done", turn=again["turn"])


async def test_another_attempt_goes_on_where_it_was_taken_up(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Twice."))["turn"]
        first = await node.take()
        await first.begin()
        await first.say("One ", "two ")
        await page.hear("delta")
        await first.end(TurnState.FAILED, reason="cut", retriable=True)
        second = await node.take()
        assert (second.job.attempt, second.job.prefix) == (2, "One two ")
        await second.begin()
        started = await page.hear("started", attempt=2)
        assert started["at"] == len("One two ")
        await second.say("three.")
        await second.end()
        done = await page.hear("done", attempt=2)
        assert page.text(turn) == done["text"] == "One two three."


async def test_a_deleted_session_ends_on_every_page(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        await page.ask("Soon gone.")
        writing = await node.take()
        await writing.begin()
        async with site.browser(ada) as browser:
            assert (await browser.delete(f"/api/sessions/{session}")).status_code == 204
            assert (await browser.get(f"/api/sessions/{session}")).status_code == 404
        assert await writing.say("still here") == "stop"
        assert not await writing.end(TurnState.CANCELLED)

        async def slots_are_free() -> bool:
            async with site.browser(ada) as browser:
                return (await browser.get("/api/state")).json()["nodes"][0]["busy"] == 0

        await until_async(slots_are_free)
        assert await page.closed() == socket.NO_SUCH_SESSION


async def test_a_reader_that_takes_nothing_is_cut_loose_alone(
    site: Site, ada: Member, bob: Member, node: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.socket.SEND_SECONDS", 0.5)
    async with site.page(ada, ada.session(), max_queue=1) as slow, site.page(bob, bob.session()) as page:
        channel = turn_channel((await slow.ask("Much."))["turn"])
        much = await node.take()
        turn = (await page.ask("Little."))["turn"]
        little = await node.take()
        await much.begin()
        await little.begin()
        for _ in range(20):
            await much.say("x" * 1_000_000)
        await little.say("Fine.")
        await little.end()
        await page.hear("done")
        assert page.text(turn) == "Fine."

        async def nobody_listens_for_it() -> bool:
            return dict(await node.client.pubsub_numsub(channel))[channel.encode()] == 0

        await until_async(nobody_listens_for_it)
        assert not await slow.closed_well()




async def test_no_delta_begins_before_what_the_page_has(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("Sag etwas."))["turn"]
    writing = await node.take()
    await writing.begin()
    await writing.say("".join(REPLY))
    half = "".join(REPLY).encode()[:9]
    async with site.page(ada, session) as page:
        await page.resume(turn, half)
        first = await page.hear("delta")
        assert first["at"] == len(half)
        assert first["text"].encode() == "".join(REPLY).encode()[9:]


async def test_a_page_that_comes_back_while_postgresql_is_away_is_told_to_try_again(
    site: Site, ada: Member, node: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused and left on an open socket, it would wait for ever."""
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("Warum?"))["turn"]
    with monkeypatch.context() as patch:
        patch.setattr(turns, "owned", _away)
        async with site.page(ada, session) as page:
            await page.resume(turn)
            assert await page.closed() == socket.TRY_AGAIN
    async with site.page(ada, session) as page:
        await page.resume(turn)
        await node.answer("Darum.")
        await page.hear("done")
        assert page.text(turn) == "Darum."


def _away(*_: object) -> None:
    raise Unavailable


async def test_a_page_of_a_session_that_another_deletes_is_told(site: Site, ada: Member) -> None:
    session, other = ada.session(), ada.session()
    async with site.page(ada, session) as page, site.page(ada, other) as another:
        await page.ask("Go on and on.")
        # Whoever can write to Redis says so of any session; PostgreSQL knows better.
        await asyncio.to_thread(redis.client().publish, names.session_channel(other), names.SESSION_GONE)
        await asyncio.to_thread(sessions.remove, session, ada.id)
        assert await page.closed() == 4404
        await another.send(type="ping")
        await another.hear("pong")
