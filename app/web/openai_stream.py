"""An answer as server-sent events: chunks as they come, comments while it waits, an end when the client leaves."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.core import redis
from app.web import openai_errors
from app.web.openai_answers import Shape
from app.web.openai_turn import ApiTurn, End, Step, Text, Waiting
from app.wire.errors import MeatLizardError, NotSignedIn, Unavailable

HOLD_SECONDS: Final = 1.0
"""How long the status waits for the first word: what fails at once is told by it, as clients expect."""
SEND_SECONDS: Final = 30
"""A client that takes nothing for so long has left without a word."""
KEEP_ALIVE_SECONDS: Final = 5.0
"""After so long without a word the client, and any proxy before us, is told that the answer is still coming."""
DONE: Final = b"data: [DONE]\n\n"
ENDED: Final = "This token has ended, or its owner's account was shut, while the answer was written."
Visit = contextlib.AbstractAsyncContextManager[asyncio.Event]
"""While it lasts its event is set when who asked is not welcome any more: see `app.web.doorkeeper`."""
_OURS: Final = (MeatLizardError, *redis.ERRORS)


class _Stuck(Exception):
    """The client takes nothing any more."""


async def gone(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Streams one turn; when its client leaves, the turn is stopped."""

    media_type = "text/event-stream"

    def __init__(
        self, turn: ApiTurn, shape: Shape, visit: Visit, *, with_usage: bool, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        # nginx would keep the chunks together otherwise.
        self.headers["x-accel-buffering"] = "no"
        self._turn: Final = turn
        self._shape: Final = shape
        self._visit: Final = visit
        self._usage: Final = with_usage
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client is gone."""
        writing = asyncio.create_task(self._write(scope, receive, send))
        tasks: list[asyncio.Task[Any]] = [writing, asyncio.create_task(gone(receive))]
        try:
            async with self._visit as ended:
                ending = asyncio.create_task(ended.wait())
                tasks.append(ending)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                with contextlib.suppress(_Stuck):
                    if writing.done():
                        writing.result()
                    elif ending.done():
                        raise NotSignedIn
        except NotSignedIn:
            # Ended just before or since it is listened for: the same to who asked, whose prompt had been taken.
            error = NotSignedIn(ENDED)
            writing.cancel()
            await asyncio.wait((writing,))
            if self._begun:
                with contextlib.suppress(_Stuck):
                    await self._send(send, self._error(error) + DONE, more=False)
            else:
                await openai_errors.refusal(error)(scope, receive, send)
        finally:
            for task in tasks:
                task.cancel()
            if not self._turn.ended:
                await self._turn.stop()

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._turn.steps()) as steps:
            if not await self._write_steps(steps, scope, receive, send):
                return
        await self._send(send, DONE, more=False)

    async def _write_steps(self, steps: AsyncGenerator[Step, None], scope: Scope, receive: Receive, send: Send) -> bool:
        """Say whether a stream was begun that has to be ended."""
        coming = asyncio.ensure_future(anext(steps))
        try:
            await asyncio.wait((coming,), timeout=HOLD_SECONDS)
            if coming.done() and isinstance(error := coming.exception(), _OURS):
                await openai_errors.refusal(_told(error))(scope, receive, send)
                return False
            self._begun = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if chunk := self._shape.first():
                await self._send(send, self._event(chunk))
            while True:
                await asyncio.wait((coming,), timeout=KEEP_ALIVE_SECONDS)
                if not coming.done():
                    await self._send(send, b": keep-alive\n\n")
                    continue
                step = coming.result()
                await self._send(send, self._bytes(step))
                if isinstance(step, End):
                    break
                coming = asyncio.ensure_future(anext(steps))
        except _Stuck:
            return False
        except _OURS as error:
            await self._send(send, self._error(_told(error)))
        finally:
            # Only one that is not at work can be closed.
            coming.cancel()
            await asyncio.wait((coming,))
        return True

    async def _send(self, send: Send, piece: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            raise _Stuck from None

    def _bytes(self, step: Step) -> bytes:
        match step:
            case Text(text):
                return self._event(self._shape.text(text))
            case Waiting(position, eta):
                place = f": queued, place {position}" if position else ": keep-alive"
                return (place + (f", about {eta:.0f} s" if eta else "") + "\n\n").encode()
            case End():
                return self._event(self._shape.last(step)) + (self._event(self._shape.usage(step)) if self._usage else b"")

    def _error(self, error: MeatLizardError) -> bytes:
        return b"data: " + orjson.dumps(openai_errors.body(error)) + b"\n\n"

    def _event(self, chunk: dict[str, Any]) -> bytes:
        if self._usage:
            chunk = {"usage": None} | chunk
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _told(error: Any) -> Any:
    return Unavailable() if isinstance(error, redis.ERRORS) else error
