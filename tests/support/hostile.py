"""Clients that mean harm, or behave as if they did: each kind does its worst with one connection, and comes again when it is cut."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

ADDRESSES: Final = tuple(f"127.0.0.{last}" for last in range(2, 12))
"""Where they come from: addresses of this machine that are not the one that people's pages come from."""
AGAIN_SECONDS: Final = 0.1
"""Between being cut and coming again; so many of them would open thousands of connections a second otherwise."""


@dataclass
class Target:
    """What they are let loose on: a web process, and an account of theirs with sessions."""

    url: str
    token: str
    sessions: list[str]
    cuts: dict[str, int] = field(default_factory=dict)
    """How often each kind was cut, or refused."""
    said: dict[str, int] = field(default_factory=dict)
    """Bytes that each kind could get rid of."""

    def head(self, line: str, *more: str) -> bytes:
        return "\r\n".join((f"{line} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}", *more, "", "")).encode()


class Connection:
    """One of theirs."""

    def __init__(self, target: Target, kind: str, made: socket.socket) -> None:
        self.target, self._kind, self._socket = target, kind, made

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
        self.target.said[self._kind] = self.target.said.get(self._kind, 0) + len(data)

    async def hear(self) -> bytes:
        """Return what came; raise ConnectionError where that is the end."""
        if not (heard := await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)):
            raise ConnectionResetError
        return heard

    async def upgrade(self, number: int) -> None:
        """Open a chat socket."""
        session = self.target.sessions[number % len(self.target.sessions)]
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        more = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key)
        await self.say(self.target.head(f"GET /ws/sessions/{session}", *more, f"Authorization: Bearer {self.target.token}"))
        if not (await self.hear()).startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError


Deed = Callable[[Connection, int], Awaitable[None]]


async def half_open(it: Connection, number: int) -> None:
    """Connect, and say nothing."""
    await it.hear()


async def slow_head(it: Connection, number: int) -> None:
    """Say a byte of the headers a second."""
    for byte in it.target.head("GET /login", *("X-Slow: " + "a" * 100 for _ in range(100))):
        await it.say(bytes([byte]))
        await asyncio.sleep(1)


async def slow_body(it: Connection, number: int) -> None:
    """Promise a megabyte, and send a byte a second."""
    await it.say(it.target.head("POST /api/login", "Content-Type: application/json", "Content-Length: 1000000"))
    while True:
        await it.say(b" ")
        await asyncio.sleep(1)


async def flood_of_requests(it: Connection, number: int) -> None:
    """Ask for a page as soon as the last one has come."""
    while True:
        await it.say(it.target.head("GET /login"))
        await it.hear()


async def flood_of_tries(it: Connection, number: int) -> None:
    """Try passwords as fast as they are refused."""
    body = json.dumps({"name": f"ada-{number}", "password": "wrong horse battery"}).encode()
    while True:
        length = f"Content-Length: {len(body)}"
        await it.say(it.target.head("POST /api/login", "Content-Type: application/json", length) + body)
        await it.hear()


async def flood_of_lines(it: Connection, number: int) -> None:
    """Send one request after the other, and read nothing."""
    while True:
        await it.say(it.target.head("GET /login") * 100)


async def flood_of_messages(it: Connection, number: int) -> None:
    """Send messages on a chat socket as fast as they are taken."""
    await it.upgrade(number)
    message = bytes(Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=True))
    while True:
        await it.say(message * 100)


async def flood_of_pings(it: Connection, number: int) -> None:
    """Send pings of the protocol's own, and never read what they are answered with."""
    await it.upgrade(number)
    ping = bytes(Frame(Opcode.PING, b"x" * 125).serialize(mask=True))
    while True:
        await it.say(ping * 100)


async def flood_of_knocks(it: Connection, number: int) -> None:
    """Open a chat socket that is nobody's to open, again and again."""
    await it.upgrade(number)
    raise ConnectionResetError


KINDS: Final[dict[Deed, int]] = {
    half_open: 60,
    slow_head: 30,
    slow_body: 20,
    flood_of_requests: 20,
    flood_of_tries: 10,
    flood_of_lines: 10,
    flood_of_messages: 20,
    flood_of_pings: 20,
    flood_of_knocks: 10,
}
"""How many of each: two hundred in all."""


async def let_loose(target: Target, share: float = 1.0) -> None:
    """Do all of it until cancelled; `share` of each kind, one at least."""
    async with asyncio.TaskGroup() as group:
        for deed, count in KINDS.items():
            for number in range(max(1, round(count * share))):
                group.create_task(_again_and_again(target, deed, number))


async def _again_and_again(target: Target, deed: Deed, number: int) -> None:
    place = urlsplit(target.url)
    kind = deed.__name__  # type: ignore[attr-defined]  # They are all functions.
    while True:
        with contextlib.suppress(OSError), socket.socket() as made:
            made.setblocking(False)
            made.bind((ADDRESSES[number % len(ADDRESSES)], 0))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(made, (place.hostname, place.port))
            await deed(Connection(target, kind, made), number)
        target.cuts[kind] = target.cuts.get(kind, 0) + 1
        await asyncio.sleep(AGAIN_SECONDS)


def told(target: Target) -> dict[str, Any]:
    """Return what came of it."""
    return {"cuts": target.cuts, "kilobytes": {kind: size // 1000 for kind, size in target.said.items()}}
