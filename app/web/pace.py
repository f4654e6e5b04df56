"""How fast one address is answered: whoever asks faster than any page does waits, so that nobody else has to."""

import asyncio
import time
from typing import Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.services.network import place
from app.web.deps import address
from app.web.security import refusal
from app.wire.errors import TooOften

RATE: Final = RateLimitItemPerSecond(200, 10)
"""Requests and new sockets of one address in any ten seconds: a dozen pages opened at once, by a whole office or family."""
WAIT_SECONDS: Final = 15
"""How long one waits for room; whoever would have to for longer is told when to come back."""


class Pace:
    """Lets the requests of one address wait for each other; those of the machine itself are not counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app
        self._limiter: Final = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        late = None
        if scope["type"] in ("http", "websocket") and (whose := place(address(HTTPConnection(scope)))):
            late = await self._waited(whose)
        if late is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            response = refusal(late, scope)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": str(late)})

    async def _waited(self, whose: str) -> TooOften | None:
        until = time.monotonic() + WAIT_SECONDS
        while not await self._limiter.hit(RATE, whose):
            reset = (await self._limiter.get_window_stats(RATE, whose)).reset_time
            seconds = max(0.1, reset - time.time())
            if time.monotonic() + seconds > until:
                return TooOften("Too many requests come from your address", max(1, round(seconds)))
            await asyncio.sleep(seconds)
        return None
