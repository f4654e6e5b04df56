"""How fast one address is answered: whoever asks faster than any page does waits, so that nobody else has to."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.services.network import place
from app.web.deps import address
from app.web.patience import GONE
from app.web.security import refusal
from app.wire.errors import TooOften

RATE: Final = RateLimitItemPerSecond(200, 10)
"""Requests and new sockets of one address in any ten seconds: a dozen pages opened at once, by a whole office or family."""
WAIT_SECONDS: Final = 15
"""How long one waits for room; whoever would have to for longer is told when to come back."""


@dataclass(slots=True)
class Line:
    """Those of one address who wait for room, one behind the other."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Pace:
    """Lets the requests of one address wait for each other; those of the machine itself are not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app
        self._limiter: Final = MovingWindowRateLimiter(MemoryStorage())
        self._lines: Final[dict[str, Line]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        late = None
        if scope["type"] in ("http", "websocket") and (whose := place(address(HTTPConnection(scope)))):
            gone = scope.get(GONE, _stays)
            late = await self._waited(whose, gone)
            if gone():
                return  # Nobody would read the answer, and whoever hangs up at once would be served at others' cost.
        if late is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            response = refusal(late, scope)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": str(late)})

    async def _waited(self, whose: str, gone: Callable[[], bool]) -> TooOften | None:
        if whose not in self._lines and await self._limiter.hit(RATE, whose):
            return None
        gap = RATE.get_expiry() / RATE.amount
        line = self._lines.setdefault(whose, Line())
        if (seconds := line.length * gap) > WAIT_SECONDS:
            return _too_often(seconds)
        until = time.monotonic() + WAIT_SECONDS
        line.length += 1
        try:
            # One by one: were all let in as the window moves on, they would be at it together, and so would the next window's.
            async with line.turn:
                if gone():
                    return None
                return await self._room(whose, until, gap)
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[whose]

    async def _room(self, whose: str, until: float, gap: float) -> TooOften | None:
        while not await self._limiter.hit(RATE, whose):
            reset = (await self._limiter.get_window_stats(RATE, whose)).reset_time
            seconds = max(gap, reset - time.time())
            if time.monotonic() + seconds > until:
                return _too_often(seconds)
            await asyncio.sleep(seconds)
        await asyncio.sleep(gap)
        return None


def _stays() -> bool:
    """Say of a socket, or of a server that does not tell, that nobody has hung up."""
    return False


def _too_often(seconds: float) -> TooOften:
    return TooOften("Too many requests come from your address", max(1, round(seconds)))
