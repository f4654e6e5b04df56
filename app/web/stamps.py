"""When a turn came by the web process and its page: collected beside the events, and left with the figures at the end."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from app.core import clock
from app.services import metrics
from app.web.messages import Shown
from app.wire import hops

KEPT: Final = 64
"""Turns of a socket whose page may still say when it showed them."""

Stamp = Callable[[str], None]
"""Notes that a turn has come to a hop now."""


def unstamped(_: str) -> None:
    """Note nothing: this page did not send the prompt, or came later."""


class Stamps:
    """The stamps of the turns that one socket brought in."""

    def __init__(self) -> None:
        self._came: Final[dict[str, tuple[float, float]]] = {}
        """When a prompt came in, and when it was answered."""
        self._leaving: Final[set[asyncio.Task[None]]] = set()

    def accepted(self, turn: str, came: float) -> Stamp:
        """Take note of a turn that came in at `came` and was answered now; return how its watch stamps it."""
        if turn in self._came:
            return unstamped
        while len(self._came) >= KEPT:
            del self._came[next(iter(self._came))]
        self._came[turn] = came, clock.now_ms()
        made = {hops.RECEIVED: came}

        def stamp(hop: str) -> None:
            made.setdefault(hop, clock.now_ms())
            if hop == hops.TOLD:
                task = asyncio.create_task(self._leave(turn, made))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

        return stamp

    async def shown(self, said: Shown) -> None:
        """Take in what a page measured on its own clock, put straight by the way of its prompt and the answer to it."""
        came, answered = self._came.pop(said.turn, (0.0, 0.0))
        if not came:
            return
        ahead = (came - said.sent + answered - said.accepted) / 2
        own = {hops.SENT: said.sent, hops.PAINTED: said.painted, hops.SHOWN: said.shown}
        await self._leave(said.turn, {hop: at + ahead for hop, at in own.items() if at})

    async def _leave(self, turn: str, made: dict[str, Any]) -> None:
        await asyncio.to_thread(metrics.put, "hops", {"turn": turn, "hops": hops.sound(made)})
