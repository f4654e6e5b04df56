"""Discord's ids: 64 bits that carry the time they were made (docs: reference, Snowflakes)."""

from typing import Final

from bots.sandbox.clock import Clock

EPOCH_MS: Final = 1_420_070_400_000
"""The first second of 2015, from which Discord counts milliseconds."""
TIME_SHIFT: Final = 22
"""Below the milliseconds stand 5 bits of worker, 5 of process and 12 of a counter."""


class Snowflakes:
    """Makes ids that only ever grow, also when the clock is turned back or was ahead before a restart."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = 0

    def new(self) -> int:
        """An id of now."""
        self.last = max(at(self._clock.time()), self.last + 1)
        return self.last


def at(seconds: float) -> int:
    """The smallest id of that moment."""
    return max(0, int(seconds * 1000) - EPOCH_MS) << TIME_SHIFT


def seconds_of(snowflake: int) -> float:
    """When an id was made, in seconds since 1970."""
    return ((snowflake >> TIME_SHIFT) + EPOCH_MS) / 1000
