"""Telling one turn to one reader from its first byte to its end, whatever the stream has lost by then."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from app.stream.cursor import Cursor
from app.stream.follow import Follower
from app.wire.errors import Unavailable
from app.wire.events import Event
from app.wire.states import EventKind

QUIET_SECONDS: Final = 5.0
"""After so long without an event it is asked whether the turn has ended unheard."""

Ending = Callable[[str], tuple[EventKind, int, dict[str, Any]] | None]
"""Says how a turn ended, as it is kept for good; None while it has not. Blocks."""
Reply = Callable[[str], str]
"""Returns a turn's reply as it is kept for good. Blocks."""
Place = Callable[[str], tuple[int, float | None] | None]
"""Returns a waiting turn's position and the seconds left; None where it does not wait. Blocks."""


class Telling:
    """Yields a turn's events; `text` is the reply so far, and whole when the last event comes."""

    def __init__(self, turn: str, follower: Follower, ending: Ending, reply: Reply, place: Place, *, begun: bool = False) -> None:
        """`begun`: it has just been given to a node, so nobody need be asked whether it waits or has ended."""
        self.text: Final = bytearray()
        self._turn: Final = turn
        self._follower: Final = follower
        self._ending: Final = ending
        self._reply: Final = reply
        self._place: Final = place
        self._begun: Final = begun

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events until the turn has ended; the last one is final and has `at`, where there is a reply."""
        if not self._begun and (last := await self._ended()):
            yield last
            return
        if not self._begun and (place := await asyncio.to_thread(self._place, self._turn)):
            yield Event(EventKind.QUEUED, self._turn, 0, data={"position": place[0], "eta": place[1]})
        # Closed in any case: left to the garbage collector, its subscription would stay for who knows how long.
        async with contextlib.aclosing(self._follower.follow(self._turn, Cursor(), QUIET_SECONDS)) as following:
            async for event in following:
                if event is None:
                    try:
                        last = await self._ended()
                    except Unavailable:
                        continue  # Who keeps endings is away, and the reply is not: its reader stays, and it is asked again.
                    if last:
                        yield last
                        return
                elif event.kind.final:
                    yield await self._last(event.kind, event.attempt, dict(event.data) | {"at": event.at})
                else:
                    if event.kind is EventKind.STARTED:
                        del self.text[event.at or 0 :]
                    elif event.kind is EventKind.DELTA:
                        self.text.extend((event.text or "").encode())
                    yield event

    async def _ended(self) -> Event | None:
        ending = await asyncio.to_thread(self._ending, self._turn)
        return await self._last(*ending) if ending is not None else None

    async def _last(self, kind: EventKind, attempt: int, facts: dict[str, Any]) -> Event:
        at = facts.pop("at", None)
        if facts.get("message") and len(self.text) != at:
            # The stream is gone, in whole or in part.
            self.text[:] = (await asyncio.to_thread(self._reply, self._turn)).encode()
        return Event(kind, self._turn, attempt, at=at, data=facts)
