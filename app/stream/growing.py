"""A reply of one attempt while it grows, and what has been said of it; each lane adds how it goes out."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from app.wire.states import Verdict


class GrowingReply:
    """What an attempt writes into, whichever lane carries it."""

    def __init__(self, turn: str, attempt: int, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self._clock: Final = clock
        self.hops: Final[dict[str, float]] = {}
        """When it came by where, in milliseconds of the platform's clock as this machine knows it."""
        self.turn: Final = turn
        self.attempt: Final = attempt
        self.prefix: Final = prefix
        """What an earlier attempt wrote, and this one carries on."""
        self.verdict = Verdict.GO
        """The latest word from the platform; anything but `go` ends the attempt."""
        self.changed: Final = asyncio.Event()
        """Set when the verdict is no longer `go`."""
        self.left_out = 0
        self.begun = False
        """Whether any text of this attempt has been written."""
        self._parts: Final = [prefix] if prefix else []

    def stamp(self, hop: str) -> None:
        """Note that it has come this far; the first time counts."""
        self.hops.setdefault(hop, round(self._clock() * 1000, 1))

    @property
    def text(self) -> str:
        """The whole reply so far, an earlier attempt's part included."""
        return "".join(self._parts)

    def start(self, left_out: int) -> None:
        """Announce that the engine has taken the prompt, without its `left_out` oldest messages."""
        self.left_out = left_out

    def add(self, text: str) -> None:
        """Add text at the end."""
        self._parts.append(text)
        self.begun = True

    def hear(self, verdict: Verdict) -> None:
        """Take in what the platform says of the attempt."""
        if verdict is not Verdict.GO:
            self.verdict = verdict
            self.changed.set()
