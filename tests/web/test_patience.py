"""Clients that come slowly, send without end, or take nothing: each has an end, and keeps no memory until then."""

import asyncio
import contextlib
import gzip
import json
import logging
import random
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode, Frame, Opcode

from app.web import patience, server
from app.web.deps import cookie_name
from app.web.patience import GONE, STRANGERS
from app.web.security import HEADERS
from tests.fuzz.million import bend
from tests.support.people import Member
from tests.support.waiting import PATIENCE
from tests.support.website import Site, serving

SOON = 1.5
"""What the tests take for the seconds of real life."""
FAR_MORE = 64 << 20
"""Bytes that nobody should be able to leave with us; what lies in the kernel's buffers is less than half of it."""


class Raw:
    """A client that writes what it likes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    async def say(self, text: str | bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, text.encode() if isinstance(text, str) else text)

    async def hear(self, until: bytes = b"") -> bytes:
        """Return what comes, as far as a certain word, or the end of the connection."""
        heard = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while piece := await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16):
                    heard += piece
                    if until and until in heard:
                        break
        return heard

    async def pour(self, piece: bytes) -> int:
        """Say the same again and again, and read nothing; return how much was taken until the end."""
        taken = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while taken < FAR_MORE:
                    await self.say(piece)
                    taken += len(piece)
        return taken


@asynccontextmanager
async def raw(site: Site, room: int = 0) -> AsyncIterator[Raw]:
    """Connect; `room` is how much may lie with the client unread."""
    with socket.socket() as connection:
        connection.setblocking(False)
        if room:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", site.port))
        yield Raw(connection)


def request(site: Site, path: str = "/health", *headers: str, method: str = "GET") -> str:
    lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{site.port}", *headers)
    return "\r\n".join(lines) + "\r\n\r\n"


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


@asynccontextmanager
async def raw_page(site: Site, who: Member, room: int = 0, *headers: str) -> AsyncIterator[Raw]:
    """The chat socket of somebody, without a library that behaves."""
    path = f"/ws/sessions/{await asyncio.to_thread(who.session)}"
    async with raw(site, room) as client:
        more = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Origin: {site.url}")
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        await client.say(request(site, path, *more, key, f"Cookie: {cookie_name()}={who.login}", *headers))
        head = await client.hear(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"extensions" not in head.lower(), "no compression: what is small stays small"
        yield client


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "STUCK_SECONDS"):
        monkeypatch.setattr(patience, name, SOON)


BEGINNINGS = {
    "nothing": "",
    "half a line": "GET /hea",
    "half its headers": "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Sl",
    "an empty line": "\r\n",
    "half a body": "POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{",
    "half a chunk": "POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{",
    "a body that nobody reads": "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
}


async def test_a_request_that_does_not_come_has_an_end(site: Site, hurried: None) -> None:
    """At the start of a connection, and behind a request that was answered."""

    async def begin(beginning: str, *, later: bool) -> None:
        async with raw(site) as client:
            if later:
                await client.say(request(site))
                await client.hear(b'"}')
            await client.say(BEGINNINGS[beginning])
            heard = await client.hear()
        if beginning.startswith("half"):
            assert heard.startswith(b"HTTP/1.1 408 "), (beginning, later, heard)
            assert guarded(heard)

    ways = [(beginning, later) for beginning in BEGINNINGS for later in (False, True)]
    ways.remove(("nothing", True))  # uvicorn's own five seconds end that one.
    await asyncio.gather(*(begin(beginning, later=later) for beginning, later in ways))


def guarded(heard: bytes) -> bool:
    """Whether the last answer has the headers that every answer of ours has, though the application never saw it."""
    return all(f"{name}: {value}\r\n".encode() in heard for name, value in HEADERS.items()) and b"no-store" in heard


async def test_what_is_no_request_is_refused_under_the_same_headers(site: Site) -> None:
    for nonsense in ("\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nA b: c\r\n\r\n"):
        async with raw(site) as client:
            await client.say(nonsense)
            heard = await client.hear()
            assert heard.startswith(b"HTTP/1.1 400 "), heard
            assert guarded(heard)


async def test_a_request_that_comes_in_pieces_is_answered(site: Site) -> None:
    async with raw(site) as client:
        for piece in request(site):
            await client.say(piece)
        assert (await client.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


ENDLESS = {
    "an address": ("GET /", b"a" * 8192),
    "a header's name": ("GET / HTTP/1.1\r\nHost: x\r\nX-", b"a" * 8192),
    "a header": ("GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a" * 8192),
    "headers": ("GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n" * 1000),
    "a chunk's extension": ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 8192),
    "what follows a body": ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n" * 1000),
    "requests": ("", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 250),
    "empty lines": ("", b"\r\n" * 4096),
}


async def test_what_has_no_end_is_cut_short(site: Site) -> None:
    for what, (begin, again) in ENDLESS.items():
        async with raw(site) as client:
            await client.say(begin)
            assert await client.pour(again) < FAR_MORE, what


async def test_who_hangs_up_is_gone_for_each_request_that_lay_on_the_other() -> None:
    """uvicorn tells the last that came only; the one that is answered would write on a closed connection, which is an error."""
    began, told = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            began.set()
        assert scope[GONE](), "as whoever looks in between is told"
        told.set()

    async with serving(app) as site, asyncio.timeout(PATIENCE):
        async with raw(site) as client:
            await client.say(request(site) * 3)
            await began.wait()
        await told.wait()


async def test_strangers_write_nothing_into_the_log(site: Site, ada: Member, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with raw(site) as client:
            await client.say("junk\r\n\r\n")
            assert (await client.hear()).startswith(b"HTTP/1.1 400 ")
        async with raw_page(site, ada):
            pass
    assert not [one.getMessage() for one in caplog.records if one.name.startswith(("uvicorn", STRANGERS.name))]


async def test_an_answer_that_nobody_takes_is_not_waited_for(site: Site, hurried: None) -> None:
    async with raw(site, room=2048) as client:
        assert await client.pour(request(site, "/static/chat.css").encode()) < FAR_MORE


async def test_a_body_is_never_unpacked(site: Site) -> None:
    """A kilobyte that would become a megabyte: it is read as what it is, and that is no JSON."""
    packed = gzip.compress(json.dumps({"name": "a" * 1_000_000, "password": "x"}).encode())
    async with site.browser() as browser:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        answer = await browser.post("/api/login", content=packed, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")


async def test_a_socket_is_never_packed(site: Site, ada: Member) -> None:
    async with raw_page(site, ada, 0, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits") as client:
        packed = bytearray(frame(Opcode.TEXT, b"\x00" * 20))
        packed[0] |= 0x40  # "This is packed."
        await client.say(bytes(packed))
        heard = await client.hear()
        assert (heard[0], int.from_bytes(heard[2:4])) == (0x88, CloseCode.PROTOCOL_ERROR), heard


async def test_a_flood_of_pings_ends_its_own_socket(site: Site, ada: Member) -> None:
    for opcode in (Opcode.PING, Opcode.PONG):
        async with raw_page(site, ada) as client:
            assert await client.pour(frame(opcode, b"x" * 125) * 64) < FAR_MORE, opcode


async def test_answers_that_nobody_reads_do_not_pile_up(
    site: Site, ada: Member, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "CONTROLS", 1 << 30)
    async with raw_page(site, ada, 2048) as client:
        assert await client.pour(frame(Opcode.PING, b"x" * 125) * 64) < FAR_MORE


async def test_a_message_in_any_number_of_pieces_is_one_message(site: Site, ada: Member) -> None:
    said = json.dumps({"type": "prompt", "id": str(uuid4()), "text": "x" * 5000}).encode()
    pieces = [frame(Opcode.TEXT, said[:1], fin=False)]
    pieces += [frame(Opcode.CONT, said[at : at + 1], fin=False) + frame(Opcode.CONT, b"", fin=False) for at in range(1, len(said))]
    async with raw_page(site, ada) as client:
        await client.say(b"".join(pieces) + frame(Opcode.CONT))
        assert b'"accepted"' in await client.hear(b"x" * 5000)


@pytest.mark.parametrize("upgraded", [False, True])
async def test_bent_bytes_end_their_own_connection_and_nothing_else(site: Site, ada: Member, upgraded: bool) -> None:
    accidents: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: accidents.append(context))
    chance = random.Random(7)
    body = b'{"type":"prompt","text":"x"}'
    frames = frame(Opcode.TEXT, body) + frame(Opcode.TEXT, body[:9], fin=False) + frame(Opcode.CONT, body[9:]) + frame(Opcode.CLOSE)
    sound = frames if upgraded else request(site, "/api/login", "Content-Length: 2", method="POST").encode() + b"{}"
    for _ in range(40):
        async with raw_page(site, ada) if upgraded else raw(site) as client:
            with contextlib.suppress(ConnectionError):
                await client.say(b"".join(bend(chance, sound) for _ in range(chance.randint(1, 40))))
    async with site.browser(ada) as browser:
        assert (await browser.get("/api/me")).status_code == 200
    assert not accidents, accidents


async def test_a_flood_of_messages_waits_with_its_sender(site: Site, ada: Member) -> None:
    async with raw_page(site, ada) as client:
        flood = asyncio.create_task(client.pour(frame(Opcode.TEXT, b'{"type":"ping"}') * 500))
        async with site.page(ada, await asyncio.to_thread(ada.session)) as page:
            for _ in range(5):
                await page.send(type="ping")
                await page.hear("pong")
        flood.cancel()


def test_there_are_enough_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    server.make_room()
    assert asked == [(server.DESCRIPTORS, resource.RLIM_INFINITY)]
