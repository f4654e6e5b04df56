"""How often a Client-Bot logs in to Discord: a thousand logins a day, and Discord takes the token away."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

A_DAY: Final = 200
"""More than this, and each waits for three minutes: that stays below a thousand a day (Discord's documentation, Gateway)."""
DAY_SECONDS: Final = 86_400
SPARING_SECONDS: Final = 180.0
GAP_SECONDS: Final = 5.0
"""Between two: Discord takes one in five seconds (`max_concurrency` of its Get Gateway Bot)."""


class Logins:
    """The logins of this process. A try that did not reach Discord is none: it costs nothing there, and people wait."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._now: Final = now
        self._sleep: Final = sleep
        self._at: Final[deque[float]] = deque(maxlen=A_DAY)

    def count(self) -> None:
        """Note that Discord was logged in to."""
        self._at.append(self._now())

    async def room(self) -> None:
        """Wait until the next one may be."""
        if not self._at:
            return
        pause = GAP_SECONDS
        if len(self._at) == A_DAY and self._now() - self._at[0] < DAY_SECONDS:
            pause = SPARING_SECONDS
            log.warning("discord.sparing", seconds=SPARING_SECONDS, why="too many logins within a day")
        await self._sleep(max(0.0, self._at[-1] + pause - self._now()))
