"""The web process as people reach it: real uvicorn on a real port, and a page that shows what it hears."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from app.core.config import settings
from app.web import main
from app.web.deps import cookie_name
from app.web.server import OPTIONS
from tests.support.people import Member
from tests.support.waiting import PATIENCE

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Pages of the tests are on loopback without TLS: httpx would read a file of 200 authorities for each browser."""
_idle: list[FastAPI] = []
"""Applications that nothing serves now. FastAPI works out a route when it is first asked for, half a second in all."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # The signals of the test process are pytest's.


@dataclass
class Site:
    """A web process that runs in the test's own loop."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": self.url}

    def browser(self, who: Member | None = None, **more: Any) -> httpx.AsyncClient:
        """A browser at our page: its requests carry the page's origin, and the login if there is one."""
        cookies = {cookie_name(): who.login} if who else {}
        how = {"headers": self.origin, "cookies": cookies, "timeout": PATIENCE, "verify": PLAIN}
        return httpx.AsyncClient(base_url=self.url, **(how | more))

    @asynccontextmanager
    async def page(self, who: Member | None, session: str, **more: Any) -> AsyncIterator["Page"]:
        """The page of a session, open."""
        cookie = {"Cookie": f"{cookie_name()}={who.login}"} if who else {}
        headers = cookie | self.origin | more.pop("headers", {})
        url = f"{self.url.replace('http', 'ws')}/ws/sessions/{session}"
        async with connect(url, additional_headers=headers, max_size=None, compression=None, **more) as connection:
            yield Page(connection)


@contextlib.contextmanager
def _application() -> Iterator[FastAPI]:
    """An application with its routes, and nothing else, from those that served before."""
    app = _idle.pop() if _idle else main.create()
    app.state = State()
    app.middleware_stack = None  # Made anew when it is first asked: what the middleware counts begins at nothing.
    yield app
    _idle.append(app)


@asynccontextmanager
async def serving(given: ASGIApp | None = None) -> AsyncIterator[Site]:
    """Serve for as long as the block runs: the whole application, or one that a test made."""
    with socket.socket() as listening, contextlib.nullcontext(given) if given else _application() as app:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            lambda: app,
            timeout_graceful_shutdown=1,
            lifespan="off" if given else "on",
            **OPTIONS,
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve([listening]))
        try:
            async with asyncio.timeout(PATIENCE):
                while not server.started:
                    assert not running.done(), running
                    await asyncio.sleep(0.005)
            yield Site(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await running
    assert settings()  # What served had settings of its own: the test's.


@dataclass
class Page:
    """What a page does with the events of its socket; the strict rules of the protocol are checked on the way."""

    connection: ClientConnection
    heard: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, bytearray] = field(default_factory=dict)
    """The text of each turn's reply, as far as it was heard."""
    blocks: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def ask(self, text: str, parent: str | None = None, identity: str | None = None) -> dict[str, Any]:
        """Send a prompt and return how it was accepted."""
        identity = identity or str(uuid4())
        await self.send(type="prompt", id=identity, text=text, parent=parent)
        return await self.hear("accepted", id=identity)

    async def resume(self, turn: str, shown: bytes = b"") -> None:
        """Come back with what was shown before."""
        self.shown[turn] = bytearray(shown)
        await self.send(type="resume", turn=turn, at=len(shown))

    async def next(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return the next event, shown."""
        async with asyncio.timeout(seconds):
            event: dict[str, Any] = json.loads(await self.connection.recv())
        self.heard.append(event)
        self._show(event)
        return event

    async def hear(self, kind: str, seconds: float = PATIENCE, **like: Any) -> dict[str, Any]:
        """Return the next event of a kind; those before it are shown too."""
        async with asyncio.timeout(seconds):
            while True:
                event = await self.next()
                if event["event"] == kind and all(event.get(key) == value for key, value in like.items()):
                    return event

    async def closed(self) -> int:
        """Take what still comes, unread, and return the code with which the server closed the socket."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionClosed):
                async for _ in self.connection:
                    pass
        assert self.connection.close_code is not None
        return self.connection.close_code

    async def closed_well(self) -> bool:
        """Say whether the connection ended with a close frame; a reader that takes nothing gets none."""
        return await self.closed() != CloseCode.ABNORMAL_CLOSURE

    def text(self, turn: str) -> str:
        return self.shown.get(turn, bytearray()).decode()

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.heard]

    def _show(self, event: dict[str, Any]) -> None:
        turn = event.get("turn", "")
        shown = self.shown.setdefault(turn, bytearray())
        match event["event"]:
            case "started":
                if event["attempt"] > 1:
                    del shown[event["at"] :]
            case "delta":
                # The server knows what this page has: nothing twice, nothing missing.
                assert event["at"] == len(shown), (event, len(shown))
                shown += event["text"].encode()
            case "block":
                blocks = self.blocks.setdefault(turn, [])
                assert event["from"] == (blocks[-1][1] if blocks else 0), (event, blocks)
                assert event["to"] > event["from"]
                blocks.append((event["from"], event["to"]))
            case "done" | "cancelled" if "text" in event:
                whole = event["text"].encode()
                assert whole.startswith(shown), (shown.decode(errors="replace"), event["text"])
                shown[:] = whole
