"""Threads of their own for what takes long or waits for strangers, so that nobody's chat stands in line behind it."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from app.wire.errors import Busy

WAITING: Final = 20
"""What may wait for its turn in one of them; whoever comes then is asked to come back."""
NICE: Final = 10
"""How much less of a busy machine they get than what people wait for; threads that theirs begin take after them."""

T = TypeVar("T")


class Aside:
    """A few threads for one kind of work."""

    def __init__(self, name: str, threads: int, busy: str) -> None:
        self._pool: Final = ThreadPoolExecutor(threads, name, initializer=_give_way)
        self._most: Final = threads + WAITING
        self._busy: Final = busy
        self._under_way = 0

    async def run(self, work: Callable[..., T], *words: object) -> T:
        """Do something there and return what it returns; raise Busy where too much waits already."""
        if self._under_way >= self._most:
            raise Busy(self._busy)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *words)
        finally:
            self._under_way -= 1


def _give_way() -> None:
    if sys.platform == "linux":  # Elsewhere only whole processes have a priority.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


HASHING: Final = Aside("hashing", 1, "Too many people are signing in at once. Wait a moment and try again.")
"""Checking a password takes a core for a tenth of a second on purpose."""
ELSEWHERE: Final = Aside("elsewhere", 4, "Too many people are signing in at once. Wait a moment and try again.")
"""Discord or another provider may take seconds to answer."""
PACKING: Final = Aside("packing", 2, "Too many files are being made at once. Wait a moment and try again.")
"""All that somebody ever said, opened and written anew."""
