"""Notices a reply that has stopped coming, at no cost to the tokens that do come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from types import TracebackType


class Watch:
    """A timer that looks for the last sign of life only when one is due, then asks before it gives up.

    Use as a context manager around one reply; `interrupt` must make whoever waits for the reply go on.
    """

    def __init__(self, silence: float, deadline: float, alive: Callable[[], Awaitable[bool]]) -> None:
        self.interrupt: Callable[[], object] = lambda: None
        self.hung = False
        self.expired = False
        self._silence = silence
        self._alive = alive
        self._last = monotonic()
        self._deadline = self._last + deadline
        self._task: asyncio.Task[None] | None = None

    def beat(self) -> None:
        """Something came that only a working server sends."""
        self._last = monotonic()

    def expect(self, silence: float) -> None:
        """From now on so many seconds without a sign of life are worth a question."""
        self._silence = silence
        self._stop()
        self._task = asyncio.create_task(self._run())

    def __enter__(self) -> Watch:
        self._task = asyncio.create_task(self._run())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            now = monotonic()
            if now >= self._deadline:
                self.expired = True
                break
            due = self._last + self._silence
            if now < due:
                await asyncio.sleep(min(due, self._deadline) - now)
            elif await self._alive():
                self.beat()
            else:
                self.hung = True
                break
        self.interrupt()
