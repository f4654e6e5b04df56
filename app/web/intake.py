"""Prompts that come in at the same time are taken in together: one thread, one write to disk, one word to Redis for all."""

import asyncio
from collections import deque
from typing import Final

from app.services import asking
from app.services.asking import Asking
from app.services.turns import Accepted
from app.wire.errors import MeatLizardError

TOGETHER: Final = 32
"""Prompts taken in at once; more only make the first of them wait for the last."""


class Intake:
    """Brings prompts to the services: while some are taken in, those that come gather, and go together next."""

    def __init__(self) -> None:
        self._waiting: Final[deque[tuple[Asking, asyncio.Future[Accepted]]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, one: Asking) -> Accepted:
        """Keep a prompt; raise what is wrong with it. It is kept also where nobody waits for the answer any more."""
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="intake")
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            try:
                found = await asyncio.to_thread(asking.submit_all, [one for one, _ in some])
            except Exception as error:
                for _, answer in some:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), given in zip(some, found, strict=True):
                if answer.done():
                    continue
                if isinstance(given, MeatLizardError):
                    answer.set_exception(given)
                else:
                    answer.set_result(given)
