"""The pace of one channel: about a message a second, a few in a row where it matters, never over Discord's limit."""

from collections import deque
from typing import Final

GAP_SECONDS: Final = 1.1
"""Between two messages of a stream."""
WINDOW_SECONDS: Final = 5.1
"""Discord lets about five messages through in five seconds; it publishes no number, and headers still decide."""
WINDOW_MESSAGES: Final = 5


class Pace:
    """Says when the next message may go; times are in seconds of any steady clock."""

    def __init__(self) -> None:
        self._posts: Final[deque[float]] = deque(maxlen=WINDOW_MESSAGES)

    def note(self, now: float) -> None:
        """Note that a message has gone out."""
        self._posts.append(now)

    def rested(self, now: float) -> bool:
        """Say whether no message counts any more."""
        return not self._posts or self._posts[-1] <= now - WINDOW_SECONDS

    def next_at(self, now: float, *, urgent: bool) -> float:
        """Return when the next message may go; an urgent one waits for the limit alone."""
        recent = [at for at in self._posts if at > now - WINDOW_SECONDS]
        if not recent:
            return now
        frees = recent[0] + WINDOW_SECONDS
        left = WINDOW_MESSAGES - len(recent)
        if left == 0:
            return frees if urgent else max(frees, recent[-1] + GAP_SECONDS)
        if urgent:
            return now
        # After a few in a row the rest of the window is shared out evenly, rather than used up and waited for.
        return max(now, recent[-1] + max(GAP_SECONDS, (frees - recent[-1]) / (left + 1)))
