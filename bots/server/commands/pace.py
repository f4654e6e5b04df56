"""How often a channel's messages are edited: Discord takes about five edits in five seconds, whoever asks for them."""

import asyncio
import time
from typing import Final

EDIT_SECONDS: Final = 1.25
"""Between two edits in one channel, all replies in it together: below the limit, so that the final one never waits long."""
KEPT: Final = 1000
"""Channels remembered; older ones are free by then."""


class Pace:
    """Lets the edits of each channel go one after the other."""

    def __init__(self) -> None:
        self._free_at: Final[dict[int, float]] = {}

    async def wait(self, channel: int) -> None:
        """Return when the next edit of a channel may go; who asks first goes first."""
        now = time.monotonic()
        at = max(now, self._free_at.pop(channel, 0.0))
        self._free_at[channel] = at + EDIT_SECONDS
        if len(self._free_at) > KEPT:
            for one in [one for one, free in self._free_at.items() if free < now]:
                del self._free_at[one]
        await asyncio.sleep(at - now)
