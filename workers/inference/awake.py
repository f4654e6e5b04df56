"""Keeping a Mac from idle sleep while a turn runs, and no longer; its display may sleep all the while."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

COMMAND: Final = ("caffeinate", "-i", "-w")
"""Apple's own: -i against idle sleep of the system (never -d, which keeps the display on), -w PID ends with that process."""
END_SECONDS: Final = 2.0


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Awake:
    """Holds one `caffeinate` for as long as at least one turn runs; does nothing on other systems."""

    def __init__(self, platform: str = sys.platform, start: Callable[[Sequence[str]], Any] = _start) -> None:
        self._wanted: Final = platform == "darwin"
        self._start: Final = start
        self._turns = 0
        self._held: Any = None
        self._changing: Final = asyncio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the machine awake for one turn."""
        self._turns += 1
        await self._settle()
        try:
            yield
        finally:
            self._turns -= 1
            await asyncio.shield(self._settle())

    async def _settle(self) -> None:
        if not self._wanted:
            return
        async with self._changing:
            if self._turns and self._held is None:
                self._held = await asyncio.to_thread(self._begin)
            elif not self._turns and self._held is not None:
                held, self._held = self._held, None
                await asyncio.to_thread(_end, held)

    def _begin(self) -> Any:
        try:
            return self._start([*COMMAND, str(os.getpid())])
        except OSError as error:
            log.warning("awake.failed", error=str(error), hint="This Mac may fall asleep in the middle of a reply.")
            return None


def _end(held: Any) -> None:
    held.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        held.wait(END_SECONDS)
