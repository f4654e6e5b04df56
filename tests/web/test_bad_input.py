"""Whatever comes on one chat socket: a clear error there, or the text shown as text, and nothing else disturbed."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.waiting import PATIENCE
from tests.support.website import Site

ANOTHER = str(uuid4())


@asynccontextmanager
async def undisturbed(site: Site, who: Member, node: PlayedNode) -> AsyncIterator[None]:
    """Somebody else's chat that goes on the whole time and has to come out whole."""
    async with site.page(who, who.session()) as page:
        turn = (await page.ask("How are you?"))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.say("Quite ")
        await page.hear("delta")
        yield
        await writing.say("well.")
        await writing.end()
        await page.hear("done")
        assert page.text(turn) == "Quite well."


def prompt(text: Any = "Hello?", **more: Any) -> dict[str, Any]:
    return {"type": "prompt", "id": str(uuid4()), "text": text} | more


BAD: dict[str, str | bytes] = {
    "no JSON": "{",
    "nothing": "",
    "a number": "7",
    "null": "null",
    "a list": "[]",
    "half a character": b"\xff\xfe".decode("latin-1"),
    "deep": "[" * 50_000,
    "deep objects": '{"a":' * 50_000,
    "no type": "{}",
    "unknown type": '{"type": "shutdown"}',
    "a type that is none": '{"type": ["prompt"]}',
    "binary": b"\x00\x01\x02",
    "binary JSON": json.dumps({"type": "ping"}).encode(),
    "prompt without id": json.dumps({"type": "prompt", "text": "x"}),
    "prompt without text": json.dumps({"type": "prompt", "id": ANOTHER}),
    "prompt with a number": json.dumps(prompt(7)),
    "prompt with null": json.dumps(prompt(None)),
    "prompt with a bad id": json.dumps(prompt(id="x" * 36)),
    "prompt with a bad parent": json.dumps(prompt(parent="x" * 36)),
    "prompt with an unknown parent": json.dumps(prompt(parent=ANOTHER)),
    "empty prompt": json.dumps(prompt("")),
    "blank prompt": json.dumps(prompt(" \n\t")),
    "NUL alone": json.dumps(prompt("\0")),
    "a megabyte": json.dumps(prompt("x" * 1_000_000)),
    "lone surrogate by escape": f'{{"type": "prompt", "id": "{ANOTHER}", "text": "\\ud800"}}',
    "unknown sampling": json.dumps(prompt(sampling={"grammar": "x"})),
    "sampling of another kind": json.dumps(prompt(sampling={"temperature": "hot"})),
    "sampling with words": json.dumps(prompt(sampling={"stop": ["\0"]})),
    "sampling out of range": json.dumps(prompt(sampling={"temperature": 3})),
    "sampling that is no object": json.dumps(prompt(sampling=[1])),
    "retry of nothing": json.dumps({"type": "retry", "id": ANOTHER, "turn": ANOTHER}),
    "stop of nothing": json.dumps({"type": "stop", "turn": ANOTHER}),
    "stop of no id": json.dumps({"type": "stop", "turn": "y" * 32}),
    "resume of nothing": json.dumps({"type": "resume", "turn": ANOTHER, "at": 0}),
    "resume below zero": json.dumps({"type": "resume", "turn": ANOTHER, "at": -1}),
    "resume at a word": json.dumps({"type": "resume", "turn": ANOTHER, "at": "0"}),
    "resume at NaN": f'{{"type": "resume", "turn": "{ANOTHER}", "at": NaN}}',
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_clear_error_and_the_socket_lives(site: Site, ada: Member, kind: str) -> None:
    async with site.page(ada, ada.session()) as page:
        await page.connection.send(BAD[kind])
        event = await page.next()
        assert event["event"] == "error", event
        assert event["code"] in ("bad_input", "not_found", "prompt_too_long"), event
        assert event["message"].endswith(".")
        assert len(event["message"]) < 300
        await page.send(type="ping")
        assert (await page.next())["event"] == "pong"


async def test_known_figures_reach_the_job(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        await page.send(**prompt(sampling={"temperature": 0, "seed": 7, "top_k": None}))
        await page.hear("accepted")
    sampling = (await node.take()).job.sampling
    assert (sampling["temperature"], sampling["seed"], "top_k" in sampling) == (0, 7, False)


async def test_the_refused_prompt_is_named(site: Site, ada: Member) -> None:
    async with site.page(ada, ada.session()) as page:
        for text in ("", "x" * 40_000):
            message = prompt(text)
            await page.send(**message)
            assert (await page.hear("error"))["id"] == message["id"]


DANGEROUS = re.compile(r"<(script|img|svg|iframe|object)|<[^>]*\s(on\w+|style)=|<[^>]*\s(href|src)=\"(?!https?://|mailto:)", re.I)
"""Elements that load or run something, attributes that do, and links to anything but pages."""

TEXTS = {
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 50,
    "right to left": "שלום עולם \u202emirror\u202c مرحبا",
    "combining": "Z\u0351\u036b\u0343" * 300,
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)><svg/onload=alert(1)>" * 50,
    "links": "[x](javascript:alert(1)) ![x](https://evil.example/beacon.png) <https://a.b>",
    "stars": "*" * 30_000,
    "brackets": "[" * 30_000,
    "quotes": ">" * 10_000 + " x",
    "nested lists": "".join("  " * (number % 60) + "- x\n" for number in range(400)),
    "backticks": "`" * 29_999,
    "table": "|a" * 500 + "|\n" + "|-" * 500 + "|\n" + ("|b" * 500 + "|\n") * 20,
    "NUL inside": "a\0b",
}


@pytest.mark.parametrize("kind", TEXTS)
async def test_text_is_shown_as_text(site: Site, ada: Member, bob: Member, node: PlayedNode, kind: str) -> None:
    """As a prompt and as a reply; neither may hold up somebody else's chat."""
    text = TEXTS[kind]
    async with undisturbed(site, bob, node), site.page(ada, ada.session()) as page:
        async with asyncio.timeout(PATIENCE):
            accepted = await page.ask(text)
            await node.answer(text.replace("\0", ""))
            done = await page.hear("done")
        assert accepted["text"] == done["text"] == text.replace("\0", "")
        for html in (accepted["html"], done["html"]):
            assert not DANGEROUS.search(html), html[:500]


async def test_a_thousand_messages_a_second_slow_down_nobody_else(
    site: Site, ada: Member, bob: Member, node: PlayedNode
) -> None:
    # It does not wait for the server to have read all of it when it goes.
    async with undisturbed(site, bob, node), site.page(ada, ada.session(), close_timeout=0.1) as flood:

        async def pour() -> None:
            for _ in range(1000):
                await flood.send(type="ping")

        pouring = asyncio.create_task(pour())
        assert (await flood.hear("error"))["code"] == "busy"
        async with site.page(bob, bob.session()) as page:
            async with asyncio.timeout(PATIENCE):
                await page.send(type="ping")
                await page.hear("pong")
        pouring.cancel()


async def test_a_frame_larger_than_any_prompt_ends_its_own_socket_only(
    site: Site, ada: Member, bob: Member, node: PlayedNode
) -> None:
    async with undisturbed(site, bob, node), site.page(ada, ada.session()) as page:
        with contextlib.suppress(ConnectionClosed):  # It may be closed before all of it was sent.
            await page.connection.send("x" * 5_000_000)
        assert await page.closed() == 1009


async def test_more_replies_than_one_page_watches_at_once(
    site: Site, ada: Member, node: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.socket.TURNS_AT_ONCE", 1)
    session = ada.session()
    async with site.page(ada, session) as page:
        turns = [(await page.ask(f"Number {number}."))["turn"] for number in range(3)]
    async with site.page(ada, session) as page:
        for turn in turns:
            await page.send(type="resume", turn=turn, at=0)
        for number, turn in enumerate(turns):
            await node.answer(f"Answer {number}.")
            await page.hear("done", turn=turn)
            assert page.text(turn) == f"Answer {number}."


@pytest.mark.parametrize("session", ["00000000-0000-7000-8000-000000000000", "nonsense", "%00"])
async def test_no_such_session(site: Site, ada: Member, session: str) -> None:
    async with site.page(ada, session) as page:
        assert await page.closed() == 4404


async def test_another_ones_session_is_no_such_session(site: Site, ada: Member, bob: Member) -> None:
    async with site.page(bob, ada.session()) as page:
        assert await page.closed() == 4404


@pytest.mark.parametrize("cookie", ["", "meatlizard-8000=nonsense", "meatlizard-8000="])
async def test_the_anonymous_are_asked_to_sign_in(site: Site, ada: Member, cookie: str) -> None:
    async with site.page(None, ada.session(), headers={"Cookie": cookie} if cookie else {}) as page:
        assert await page.closed() == 4401


async def test_anothers_turn_is_neither_watched_nor_stopped(site: Site, ada: Member, bob: Member) -> None:
    async with site.page(ada, ada.session()) as hers, site.page(bob, bob.session()) as his:
        turn = (await hers.ask("Mine."))["turn"]
        for message in (
            {"type": "resume", "turn": turn, "at": 0},
            {"type": "stop", "turn": turn},
            {"type": "retry", "id": str(uuid4()), "turn": turn},
        ):
            await his.send(**message)
            assert (await his.hear("error"))["code"] == "not_found"
        await hers.hear("queued")
        await hers.send(type="ping")
        await hers.hear("pong")
        assert "cancelled" not in hers.kinds()
