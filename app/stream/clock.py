"""Redis' clock as this process knows it: the one clock that the platform and the nodes have in common."""

import time
from collections import deque
from typing import Final

KEPT: Final = 8
"""Measurements of which the one with the shortest way counts: its error is at most half that way."""


class RedisClock:
    """Learns from answers to TIME that were asked for anyway."""

    def __init__(self) -> None:
        self._seen: Final[deque[tuple[float, float]]] = deque(maxlen=KEPT)

    def note(self, asked: float, answered: float, told: tuple[int, int]) -> None:
        """Take in what TIME said (seconds, microseconds), asked and answered at these seconds of our own clock."""
        seconds, micros = told
        self._seen.append((answered - asked, seconds + micros / 1e6 - (asked + answered) / 2))

    @property
    def ahead(self) -> float:
        """Seconds that Redis' clock is ahead of ours; 0 where it was never asked."""
        return min(self._seen)[1] if self._seen else 0.0

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self.ahead
