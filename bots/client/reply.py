"""A reply on its way into a channel, cut into frames; it can be said again from any byte on."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import orjson

from app.stream.growing import GrowingReply
from app.wire.frames import TEXT_BYTES, Frame, FrameKind, cut
from app.wire.jobs import Outcome

BACKLOG_FRAMES: Final = 4
"""More waiting text than this many frames carry goes as one attachment: an engine may be faster than the channel."""
BACKLOG_BYTES: Final = 512 << 10
"""Text of one attachment: sealed, it stays below the megabyte that the Server-Bot looks at."""
QUIET_SECONDS: Final = 15.0
"""After so much silence a frame without text says that the attempt lives: its lease is 45 s, a prompt can take minutes."""


class FrameReply(GrowingReply):
    """The reply of one attempt as frames; each stays due until `gone_out` says that Discord has it."""

    def __init__(self, turn: str, attempt: int, prefix: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(turn, attempt, prefix, clock)
        self._base: Final = len(prefix.encode())
        self._data: Final = bytearray(prefix.encode())
        self._sent = self._base
        self._spoken = False
        self._announce = False
        self._announced = False
        self._outcome: Outcome | None = None
        self._end_due = False
        self._round = self._flying = 0
        """How often it was asked for again; what was on its way before that does not count as said."""
        self.spoke_at = time.monotonic()
        self.ended: Final = asyncio.Event()
        """Set when the end has been said."""
        self.over: Final = asyncio.Event()
        """Set when the platform has the turn, or nobody wants it any more."""
        self.wake: Callable[[], None] = _nobody
        """Tells the speaker that something is due."""

    def start(self, left_out: int) -> None:
        """Announce that the engine has taken the prompt."""
        super().start(left_out)
        self._announce = True
        self.wake()

    def add(self, text: str) -> None:
        """Add text at the end."""
        super().add(text)
        self._data.extend(text.encode())
        self.wake()

    def finish(self, outcome: Outcome) -> None:
        """Say how it ended, once all text has gone out."""
        self._outcome = outcome
        self._end_due = True
        self.wake()

    def resend(self, at: int) -> None:
        """Say everything again from byte `at` on, the end included."""
        at = min(at, self._sent)
        while at and at < len(self._data) and self._data[at] & 0xC0 == 0x80:
            at -= 1
        self._sent = at
        self._round += 1
        self._end_due = self._outcome is not None
        self.ended.clear()
        self.wake()

    @property
    def urgent(self) -> bool:
        """Say whether what is due need not wait for the pace: a beginning, the first text, the end."""
        return self._announce or (self._waiting and not self._spoken) or (self._end_due and not self._waiting)

    @property
    def due(self) -> bool:
        """Say whether something waits to go out."""
        return self._announce or self._waiting or self._end_due

    @property
    def quiet(self) -> bool:
        """Say whether it has been silent for so long that a sign of life is due."""
        return self._outcome is None and time.monotonic() - self.spoke_at >= QUIET_SECONDS

    def next_frame(self) -> Frame:
        """Return what goes out next; a sign of life where nothing is due."""
        self._flying = self._round
        if self._announce or not (self._announced or self._outcome):
            # Also as the sign of life of one that waits for its slot, or for the engine: it says so again then.
            body = orjson.dumps({"left_out": self.left_out})
            return Frame(FrameKind.STARTED, self.turn, self.attempt, self._base, body)
        if self._end_due and not self._waiting:
            assert self._outcome is not None
            said = asdict(self._outcome)
            del said["text"]
            return Frame(FrameKind.END, self.turn, self.attempt, len(self._data), orjson.dumps(said))
        waiting = len(self._data) - self._sent
        limit = TEXT_BYTES if waiting <= BACKLOG_FRAMES * TEXT_BYTES else BACKLOG_BYTES
        text = cut(bytes(self._data[self._sent : self._sent + limit + 4]), limit)
        return Frame(FrameKind.DELTA, self.turn, self.attempt, self._sent, text)

    def gone_out(self, frame: Frame) -> None:
        """Note that Discord has a frame; one that is to be said again meanwhile stays due."""
        self.spoke_at = time.monotonic()
        if frame.kind is FrameKind.STARTED:
            self._announce = False
            self._announced = True
        elif self._flying != self._round:
            return
        elif frame.kind is FrameKind.DELTA:
            self._spoken = self._spoken or bool(frame.body)
            self._sent += len(frame.body)
        elif frame.kind is FrameKind.END:
            self._end_due = False
            self.ended.set()

    @property
    def _waiting(self) -> bool:
        return self._sent < len(self._data)


def _nobody() -> None:
    pass
