"""Watching one turn for one page: its events, and its reply as finished Markdown blocks."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from redis.asyncio import Redis

from app.core import keys
from app.services import dispatch, markdown, turns
from app.stream.cursor import Cursor
from app.stream.follow import Follower
from app.stream.hub import Hub
from app.wire.events import Event
from app.wire.states import EventKind

QUIET_SECONDS: Final = 5.0
"""After so long without an event PostgreSQL is asked whether the turn has ended unheard."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Watch:
    """Follows a turn from its first byte, so that blocks are whole, and sends what the page does not show yet."""

    def __init__(self, turn: str, session: str, at: int, hub: Hub, client: Redis, send: Send) -> None:
        self._turn: Final = turn
        self._send: Final = send
        self._follower: Final = Follower(client, hub, lambda author: keys.events(author, session))
        self._have = at
        """Bytes that the page shows."""
        self._text = bytearray()
        self._blocks: Final = markdown.Blocks()

    async def run(self) -> None:
        """Send events until the turn has ended."""
        if await self._ended():
            return
        if place := await asyncio.to_thread(dispatch.place, self._turn):
            position, eta = place
            await self._send({"event": "queued", "turn": self._turn, "attempt": 0, "position": position, "eta": eta})
        async for event in self._follower.follow(self._turn, Cursor(), QUIET_SECONDS):
            if event is None:
                if await self._ended():
                    return
            elif event.kind.final:
                await self._end(event.kind, event.attempt, dict(event.data) | {"at": event.at})
            else:
                await self._pass_on(event)

    async def _pass_on(self, event: Event) -> None:
        match event.kind:
            case EventKind.DELTA:
                await self._delta(event)
            case EventKind.STARTED:
                at = event.at or 0
                del self._text[at:]
                self._have = min(self._have, at) if event.attempt > 1 else self._have
                self._blocks.truncate(at)
                await self._send(event.shown())
            case _:
                await self._send(event.shown())

    async def _delta(self, event: Event) -> None:
        text = event.text or ""
        self._text += text.encode()
        if event.end > self._have:
            if (event.at or 0) < self._have:  # Written again in larger pieces than it was shown in.
                rest = text.encode()[self._have - (event.at or 0) :].decode(errors="replace")
                event = replace(event, at=self._have, text=rest)
            await self._send(event.shown())
            self._have = event.end
        # Colouring a long block of code takes a while; a piece without a line's end finishes none.
        finished = await asyncio.to_thread(self._blocks.feed, text) if "\n" in text else self._blocks.feed(text)
        for block in finished:
            await self._send(
                {"event": "block", "turn": self._turn, "from": block.start, "to": block.end, "html": block.html}
            )

    async def _ended(self) -> bool:
        ending = await asyncio.to_thread(turns.ending, self._turn)
        if ending is None:
            return False
        await self._end(*ending)
        return True

    async def _end(self, kind: EventKind, attempt: int, facts: dict[str, Any]) -> None:
        body = {"event": kind.value, "turn": self._turn, "attempt": attempt, **facts}
        if facts.get("message"):
            text = self._text.decode(errors="replace")
            if len(self._text) != facts.get("at"):
                text = await asyncio.to_thread(turns.reply, self._turn)
            if rest := text.encode()[self._have :]:
                # The stream is gone; what the page lacks comes from PostgreSQL.
                delta = Event(EventKind.DELTA, self._turn, attempt, at=self._have, text=rest.decode(errors="replace"))
                await self._send(delta.shown())
            body |= {"text": text, "html": await asyncio.to_thread(markdown.render, text)}
        await self._send(body)
