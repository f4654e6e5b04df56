"""The sandbox's clock, which tests and the control API can move."""

import time


class Clock:
    """Seconds since 1970, moved forward on demand so that deadlines and windows pass without waiting."""

    def __init__(self) -> None:
        self._moved = 0.0
        self._stopped: float | None = None

    def time(self) -> float:
        """Now, in seconds since 1970."""
        return (time.time() if self._stopped is None else self._stopped) + self._moved

    def advance(self, seconds: float) -> None:
        """Let `seconds` have passed."""
        self._moved += seconds

    def stop(self) -> None:
        """Stand still: time passes only by `advance` from here on."""
        self._stopped = time.time() if self._stopped is None else self._stopped
