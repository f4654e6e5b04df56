"""Prompts that come in at the same time are taken in together: one thread, one write to disk, one word to Redis for all."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.services import asking, markdown
from app.services.asking import Asking
from app.services.turns import Accepted
from app.wire.errors import MeatLizardError
from app.wire.states import Door

TOGETHER: Final = 32
"""Prompts taken in at once; more only make the first of them wait for the last."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A prompt that was taken in."""

    turn: Accepted
    html: str
    """Its text as pages show it; empty for what a program sent, which no page shows."""


def shown(turn: Accepted) -> Taken:
    """Give a kept prompt the form that pages show; a long one takes a thread's time."""
    return Taken(turn, markdown.render(turn.text))


class Intake:
    """Brings prompts to the services: while some are taken in, those that come gather, and go together next."""

    def __init__(self) -> None:
        self._waiting: Final[deque[tuple[Asking, asyncio.Future[Taken]]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def submit(self, one: Asking) -> Taken:
        """Keep a prompt; raise what is wrong with it. It is kept also where nobody waits for the answer any more."""
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="intake")
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            found = await asyncio.to_thread(_taken, [one for one, _ in some])
            for (_, answer), given in zip(some, found, strict=True):
                if answer.done():
                    continue
                if isinstance(given, Exception):
                    answer.set_exception(given)
                else:
                    answer.set_result(given)


def _taken(some: Sequence[Asking]) -> list[Taken | Exception]:
    try:
        return _together(some)
    except Exception as error:
        if len(some) == 1:
            return [error]
        # An accident with one of them is not the others': each once more by itself, which is the same turn if it was kept.
        return [answer for one in some for answer in _taken([one])]


def _together(some: Sequence[Asking]) -> list[Taken | Exception]:
    found = zip(some, asking.submit_all(some), strict=True)
    return [
        kept if isinstance(kept, MeatLizardError) else shown(kept) if one.door is Door.WEB else Taken(kept, "")
        for one, kept in found
    ]
