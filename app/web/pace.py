"""How fast one address is answered: whoever asks faster than any page does waits in line, so that nobody else has to."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.services.network import place
from app.web.deps import address
from app.web.security import refusal
from app.wire.errors import TooOften

RATE: Final = RateLimitItemPerSecond(200, 10)
"""Requests and new sockets of one address in ten seconds: a dozen pages opened at once, by a whole office or family. Who has
used them up is let on evenly, twenty a second: two hundred at once, every ten seconds, would be felt by everybody."""
WAIT_SECONDS: Final = 15
"""How long one waits for room; whoever would have to for longer is told when to come back."""
AT_ONCE: Final = RateLimitItemPerSecond(60, 10)
"""Of those, as many as go in without a pause: four pages. The rest of a burst comes through the same door as a flood, where
it costs an office that opens a dozen pages at once two seconds."""
BETWEEN_SECONDS: Final = 0.02
"""From one that had to wait, of whichever address, to the next: however many flood, what they ask for comes one by one."""
GONE: Final = "gone"
"""Where the server says in a request's state how to find out that whoever asked has left."""


class _Line(asyncio.Lock):
    """Those of one address who wait, the first of them first."""

    waiting = 0


class Pace:
    """Lets the requests of one address wait for each other; those of the machine itself are not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app
        self._limiter: Final = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._lines: Final[dict[str, _Line]] = {}
        self._door: Final = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        late = None
        if scope["type"] in ("http", "websocket") and (whose := place(address(HTTPConnection(scope)))):
            late = await self._waited(whose, scope.get("state", {}).get(GONE, _stays))
        if late is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            response = refusal(late, scope)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": str(late)})

    async def _waited(self, whose: str, gone: Callable[[], bool]) -> TooOften | None:
        line = self._lines.get(whose)
        if line is None and await self._limiter.hit(AT_ONCE, whose) and await self._limiter.hit(RATE, whose):
            return None
        line = self._lines.setdefault(whose, line or _Line())
        line.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS), line:
                return await self._let_on(whose, gone)
        except TimeoutError:
            return _too_often(WAIT_SECONDS)
        finally:
            line.waiting -= 1
            if not line.waiting:
                self._lines.pop(whose, None)

    async def _let_on(self, whose: str, gone: Callable[[], bool]) -> TooOften | None:
        while not gone():
            if await self._limiter.hit(RATE, whose):
                async with self._door:
                    await asyncio.sleep(BETWEEN_SECONDS)
                return None
            reset = (await self._limiter.get_window_stats(RATE, whose)).reset_time
            seconds = max(BETWEEN_SECONDS, reset - time.time())
            if seconds > WAIT_SECONDS:
                return _too_often(seconds)
            await asyncio.sleep(seconds)
        return _too_often(0)


def _too_often(seconds: float) -> TooOften:
    return TooOften("Too many requests come from your address", max(1, round(seconds)))


def _stays() -> bool:
    return False
