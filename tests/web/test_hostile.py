"""Ten people chat while clients of every kind do their worst; how long they wait is `make bench-hostile`'s to say."""

import asyncio
import itertools
import threading
import time

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from limits import RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.services import limits, tokens
from app.services.person import Person
from app.web import aside, pace, socket
from app.web.patience import GONE
from app.wire.errors import Busy, Unavailable
from app.wire.states import Door
from tests.support import hostile
from tests.support.nodes import PlayedNode
from tests.support.people import Member, member
from tests.support.waiting import PATIENCE
from tests.support.website import Site

PEOPLE = 10


async def test_people_get_their_replies_all_the_same(site: Site, ada: Member, bob: Member, node: PlayedNode) -> None:
    sessions = await asyncio.to_thread(lambda: [bob.session() for _ in range(4)])
    token = await asyncio.to_thread(tokens.new, "bob", "", tokens.DEFAULT, None, "test", Door.CLI)
    target = hostile.Target(site.url, token, sessions)
    loose = asyncio.create_task(hostile.let_loose(target, 0.1))
    people = [ada, *(await asyncio.to_thread(lambda: [member(f"person-{number}") for number in range(PEOPLE - 1)]))]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(_chat(site, who) for who in people), _answer(node))
    assert not loose.done(), loose
    loose.cancel()
    assert target.cuts.get("flood_of_pings"), "a flood of pings is cut"
    assert target.cuts.get("flood_of_lines"), "requests that lie on top of each other are cut"


async def _chat(site: Site, who: Member) -> None:
    async with site.page(who, await asyncio.to_thread(who.session)) as page:
        turn = (await page.ask(f"I am {who.name}."))["turn"]
        await page.hear("done", turn=turn)
        assert page.text(turn) == "Good day."


async def _answer(node: PlayedNode) -> None:
    for _ in range(PEOPLE):
        await node.answer("Good ", "day.")


async def test_who_asks_too_fast_waits_and_nobody_else_does(site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    def there(last: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=site.url, transport=httpx.AsyncHTTPTransport(local_address=f"127.0.0.{last}"))

    monkeypatch.setattr(pace, "RATE", RateLimitItemPerSecond(3))
    async with there(2) as fast:
        assert {(await fast.get("/login")).status_code for _ in range(5)} == {200}, "it waits"
    monkeypatch.setattr(pace, "RATE", RateLimitItemPerHour(2))
    async with there(3) as fast, site.browser() as here:
        answers = [await fast.get(path) for path in ("/login", "/login", "/login", "/v1/models")]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        for answer in answers[2:]:
            assert int(answer.headers["retry-after"]) > pace.WAIT_SECONDS
            assert "content-security-policy" in answer.headers
        assert answers[3].json()["error"]["type"] == "rate_limit_error"
        url = f"ws://127.0.0.1:{site.port}/ws/sessions/{ada.session()}"
        with pytest.raises(InvalidStatus):
            async with connect(url, local_addr=("127.0.0.3", 0)):
                pass
        assert {(await here.get("/login")).status_code for _ in range(5)} == {200}, "the machine itself is not counted"


async def test_those_who_waited_come_in_one_by_one_and_who_hung_up_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they let in together as the window moves on, everybody would wait for all of them every ten seconds."""
    came: list[tuple[int, float]] = []
    gone: set[int] = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.append((scope["number"], time.monotonic()))

    def asked(number: int) -> Scope:
        return {"type": "http", "client": ("192.0.2.1", 1), "headers": [], "number": number, GONE: lambda: number in gone}

    monkeypatch.setattr(pace, "RATE", RateLimitItemPerSecond(5))
    paced = pace.Pace(app)
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(paced(asked(number), _nothing, _nothing))
        await asyncio.sleep(0)
        gone.update((6, 7))
    assert [number for number, _ in came] == [0, 1, 2, 3, 4, 5, 8, 9]
    times = [when for _, when in came]
    assert times[4] - times[0] < times[5] - times[4], "a page's requests do not wait"
    assert times[5] - times[0] >= 0.2
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(times[4:])), times
    await paced(asked(10), _nothing, _nothing)
    assert not paced._lines, "nothing is kept of who does not wait any more"


async def test_who_hangs_up_before_the_handshake_is_no_error() -> None:
    async def hung_up(_: Message) -> None:
        raise ClientDisconnected

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await socket.chat(WebSocket({"type": "websocket", "app": FastAPI()}, receive, hung_up), "any")


async def _nothing(*_: object) -> Message:
    raise AssertionError


async def test_what_takes_long_waits_aside_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "WAITING", 2)
    slow = aside.Aside("slow", 1, "Come back.")
    go = threading.Event()
    waiting = [asyncio.create_task(slow.run(go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="Come back"):
        await slow.run(go.wait)
    go.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await slow.run(str, 7) == "7"


async def test_sessions_are_not_begun_without_end(site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS", RateLimitItemPerMinute(2))
    async with site.browser(ada) as browser:
        assert [(await browser.post("/api/sessions")).status_code for _ in range(3)] == [201, 201, 429]


async def test_who_hangs_up_before_they_are_let_in_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is away for a while, and a page does not wait until it is told so."""

    async def nobody_knows(_: HTTPConnection) -> Person:
        raise Unavailable

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.close":
            raise OSError("closed by the other side")

    sent: list[str] = []
    monkeypatch.setattr(socket, "person", nobody_knows)
    await socket.chat(WebSocket({"type": "websocket", "app": FastAPI()}, receive, send), "any")
    assert sent == ["websocket.accept", "websocket.close"]
