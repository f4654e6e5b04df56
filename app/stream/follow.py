"""Following a turn's stream: what the reader lacks first, then live, each byte once."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from app.stream.cursor import Cursor, Gap
from app.stream.hub import LOST, Hub
from app.stream.waits import Waits
from app.wire import names
from app.wire.envelope import Ring
from app.wire.errors import EnvelopeError, EnvelopeForged
from app.wire.events import Event, RingOf, unseal

log = structlog.get_logger(__name__)

PAGE: Final = 500
"""Stream entries read at once."""
UNSTORED: Final = b"-"
"""Stands for the entry id of an event that is published only: a place in the queue."""


class Follower:
    """Reads one turn for one reader."""

    def __init__(self, redis: Redis, hub: Hub, ring_of: RingOf) -> None:
        self._redis: Final = redis
        self._hub: Final = hub
        self._ring_of: Final = ring_of
        self._ring: tuple[tuple[str, str, int], Ring] | None = None
        """What opened the last event: mostly the next one is of the same attempt."""

    async def follow(self, turn: str, cursor: Cursor, quiet_seconds: float) -> AsyncGenerator[Event | None, None]:
        """Yield a turn's events from the cursor on until it ends.

        None stands for `quiet_seconds` in which nothing came, and for a gap that the stream cannot fill: the caller
        then asks PostgreSQL how the turn stands.
        """
        async with self._hub.listen(names.turn_channel(turn)) as listener:
            async for event in self._replay(turn, cursor):
                yield event
            waits = Waits(quiet_seconds, listener.wake)
            try:
                while not cursor.ended:
                    waits.begin()
                    message = await listener.get_or_wake()
                    waits.end()
                    if message is None:
                        yield None
                        message = LOST  # Silence and a lost message look the same; reading the stream again tells.
                    if message != LOST:
                        try:
                            events = self._live(turn, message, cursor)
                        except Gap:
                            message, events = LOST, []
                        for event in events:
                            yield event
                    if message == LOST:
                        async for event in self._replay(turn, cursor):
                            yield event
            finally:
                waits.close()

    async def _replay(self, turn: str, cursor: Cursor) -> AsyncIterator[Event | None]:
        while not cursor.ended:
            page: Any = await self._redis.xrange(names.turn_stream(turn), min=f"({cursor.seen}", count=PAGE)
            for identity, fields in page:
                cursor.seen = identity.decode()
                try:
                    events: list[Event | None] = [*self._opened(turn, fields.get(b"e", b""), cursor)]
                except Gap:
                    events = [None]
                for event in events:
                    yield event
            if len(page) < PAGE:
                return

    def _live(self, turn: str, message: bytes, cursor: Cursor) -> list[Event]:
        identity, _, raw = message.partition(b" ")
        if identity == UNSTORED:
            return self._opened(turn, raw, cursor)
        try:
            place = _place(identity.decode())
        except ValueError:
            log.warning("stream.refused", turn=turn, error="not a message of a stream")
            return []
        if place <= _place(cursor.seen):
            return []
        events = self._opened(turn, raw, cursor)
        if events:
            # Whose word the id is nobody knows: with one far ahead, junk or a copy would hide all that comes after it.
            cursor.seen = identity.decode()
        return events

    def _unsealed(self, raw: bytes) -> Event:
        kept = self._ring
        try:
            return unseal(raw, self._same_ring)
        except EnvelopeForged:
            if self._ring is None or self._ring is not kept:
                raise
            self._ring = None  # The keys may have changed since it was asked for.
            return unseal(raw, self._same_ring)

    def _same_ring(self, *of: Any) -> Ring:
        if self._ring is None or self._ring[0] != of:
            self._ring = of, self._ring_of(*of)
        return self._ring[1]

    def _opened(self, turn: str, raw: bytes, cursor: Cursor) -> list[Event]:
        try:
            event = self._unsealed(raw)
            if event.turn != turn:
                raise EnvelopeForged
        except EnvelopeError as error:
            log.warning("stream.refused", turn=turn, error=str(error))
            return []
        return list(cursor.take(event))


def _place(identity: str) -> tuple[int, int]:
    milliseconds, _, number = identity.partition("-")
    return int(milliseconds), int(number)
