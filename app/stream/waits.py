"""An end to many short waits, one after the other, for the price of one timer."""

import asyncio
from collections.abc import Callable
from typing import Final


class Waits:
    """Calls `late` when one of its waits has lasted for `seconds`.

    A timer for each wait would be set and taken back thousands of times a second, and hardly ever go off. This one is left to
    run when a wait is over; when it goes off, it looks how long the wait of that moment has lasted.
    """

    def __init__(self, seconds: float, late: Callable[[], object]) -> None:
        self._seconds: Final = seconds
        self._late: Final = late
        self._loop: Final = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Wait from now on."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        """Wait no longer."""
        self._since = None

    def close(self) -> None:
        """Let go of the timer: there will be no more waits."""
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left = self._since + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._since = None
            self._late()
