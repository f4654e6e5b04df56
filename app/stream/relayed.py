"""Appending what came through Discord: frames may be lost, doubled or out of order, so Redis itself keeps the place."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from app.stream import scripts
from app.wire import names
from app.wire.events import Event, Sealer
from app.wire.states import EventKind, Verdict

Call = Callable[..., Awaitable[Any]]
"""Calls one of the platform's Redis functions by its name."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a frame."""

    verdict: Verdict
    have: int
    """Bytes of the reply that the stream has now; -1 while this attempt has not started."""
    new: bool
    """Whether something went in that was not there before."""


class Relayed:
    """Writes the events of one attempt that a node sent through Discord."""

    def __init__(self, call: Call, sealer: Sealer) -> None:
        self._call: Final = call
        self._sealer: Final = sealer
        self._turn: Final = sealer.turn

    async def started(self, at: int, left_out: int) -> Taken:
        """Begin the attempt's part of the stream; once."""
        data = {"node": self._sealer.node, "left_out": left_out}
        return await self._take("started", at, at, Event(EventKind.STARTED, self._turn, self._sealer.attempt, at=at, data=data))

    async def delta(self, at: int, text: str) -> Taken:
        """Add text where it belongs: what is there already is left out, what lies beyond a gap is not taken."""
        raw = text.encode()
        taken = await self._delta(at, text, at + len(raw))
        if at < taken.have < at + len(raw) and not taken.new:
            # Frames end between characters, so the text that is there does too.
            taken = await self._delta(taken.have, raw[taken.have - at :].decode(errors="replace"), at + len(raw))
        return taken

    async def ask(self) -> Taken:
        """Add nothing: ask how far the text goes, and renew the lease."""
        return await self._take("ask", 0, 0, None)

    async def anew(self) -> None:
        """Lay an empty stream from byte 0 on, where Redis has lost the turn or what it has is not the reply."""
        data = {"node": self._sealer.node, "left_out": 0}
        await self._take("anew", 0, 0, Event(EventKind.STARTED, self._turn, self._sealer.attempt, at=0, data=data))

    async def _delta(self, at: int, text: str, end: int) -> Taken:
        return await self._take("delta", at, end, Event(EventKind.DELTA, self._turn, self._sealer.attempt, at=at, text=text))

    async def _take(self, kind: str, at: int, end: int, event: Event | None) -> Taken:
        payload = self._sealer.seal(event) if event else b""
        words = (self._turn, self._sealer.attempt, names.STREAM_TTL_SECONDS, kind, at, end, payload)
        verdict, have, took = await self._call(scripts.RELAY, *words)
        return Taken(Verdict(verdict.decode()), int(have), bool(took))
