"""Watching one turn for one page: its events, and its reply as finished Markdown blocks."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from app.core import keys
from app.services import dispatch, markdown, turns
from app.stream.follow import Follower
from app.stream.hub import Hub
from app.stream.telling import Telling
from app.web.stamps import Stamp, unstamped
from app.wire import hops
from app.wire.events import Event
from app.wire.states import EventKind

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Watch:
    """Follows a turn from its first byte, so that blocks are whole, and sends what the page does not show yet."""

    def __init__(
        self, turn: str, session: str, at: int, hub: Hub, client: Redis, send: Send, stamp: Stamp = unstamped, *, begun: bool = False
    ) -> None:
        self._turn: Final = turn
        self._send: Final = send
        self._stamp: Final = stamp
        follower = Follower(client, hub, lambda author, of, attempt: keys.events(author, session, of, attempt))
        self._telling: Final = Telling(turn, follower, turns.ending, turns.reply, dispatch.place, begun=begun)
        self._have = at
        """Bytes that the page shows."""
        self._blocks: Final = markdown.Blocks()

    async def run(self) -> None:
        """Send events until the turn has ended."""
        structlog.contextvars.bind_contextvars(turn=self._turn)
        # A reader that is gone in mid-reply leaves the loop by an exception: what it listened to is let go at once.
        async with contextlib.aclosing(self._telling.events()) as events:
            async for event in events:
                await (self._end(event) if event.kind.final else self._pass_on(event))

    async def _pass_on(self, event: Event) -> None:
        match event.kind:
            case EventKind.DELTA:
                await self._delta(event)
            case EventKind.STARTED:
                at = event.at or 0
                self._have = min(self._have, at) if event.attempt > 1 else self._have
                self._blocks.truncate(at)
                await self._send(event.shown())
            case _:
                await self._send(event.shown())

    async def _delta(self, event: Event) -> None:
        text = event.text or ""
        if event.end > self._have:
            if (event.at or 0) < self._have:  # Written again in larger pieces than it was shown in.
                rest = text.encode()[self._have - (event.at or 0) :].decode(errors="replace")
                event = replace(event, at=self._have, text=rest)
            await self._send(event.shown())
            self._stamp(hops.RELAYED)
            self._have = event.end
        # Colouring a long block of code takes a while; a piece without a line's end finishes none.
        here = "\n" not in text or self._blocks.light(text)
        finished = self._blocks.feed(text) if here else await asyncio.to_thread(self._blocks.feed, text)
        for block in finished:
            await self._send(
                {"event": "block", "turn": self._turn, "from": block.start, "to": block.end, "html": block.html}
            )

    async def _end(self, event: Event) -> None:
        body = {"event": event.kind.value, "turn": self._turn, "attempt": event.attempt, **event.data, "at": event.at}
        if event.data.get("message"):
            text = self._telling.text.decode(errors="replace")
            if rest := text.encode()[self._have :]:
                # The stream is gone; what the page lacks comes from PostgreSQL.
                delta = Event(
                    EventKind.DELTA, self._turn, event.attempt, at=self._have, text=rest.decode(errors="replace")
                )
                await self._send(delta.shown())
            body |= {"text": text, "html": await asyncio.to_thread(self._blocks.whole, text)}
        await self._send(body)
        self._stamp(hops.TOLD)
