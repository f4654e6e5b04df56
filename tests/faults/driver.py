"""Decides from a seed what breaks when; every sort comes before any comes again."""

import asyncio
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from tests.faults.injection import Injection

TOGETHER: Final = 3
"""Faults at one moment: more of them, and nobody could say what the platform survived."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast things break, and for how long."""

    seconds: float
    """The whole of it."""
    gap: float
    """Mean pause between two beginnings."""
    longest: float
    """Of one fault; the shortest is a twelfth of that, and most are nearer to it."""


@dataclass(frozen=True, slots=True)
class Done:
    """One fault that was injected."""

    name: str
    sort: str
    at: float
    """Seconds from the beginning."""
    seconds: float
    trouble: str


class Driver:
    """Injects until its time is up; `done` tells what it did."""

    def __init__(self, injections: list[Injection], dice: random.Random, pace: Pace, *, each_once: bool = False) -> None:
        """With `each_once`, each kind is done to one target only, but for kills: those spare nobody."""
        self._injections: Final = _each_once(injections, dice) if each_once else injections
        self._dice: Final = dice
        self._each_once: Final = each_once
        self._pace: Final = pace
        self._busy: dict[str, Injection] = {}
        self._deck: list[Injection] = []
        self.done: list[Done] = []

    async def run(self) -> None:
        """Inject; a short run goes on until each has had its turn."""
        self._began = time.monotonic()
        self._deck = self._shuffled()
        rounds = 0
        async with asyncio.TaskGroup() as group:
            while rounds == 0 if self._each_once else time.monotonic() - self._began < self._pace.seconds:
                if injection := self._next():
                    self._busy[injection.target] = injection
                    group.create_task(self._inject(injection))
                    await asyncio.sleep(min(self._dice.expovariate(1 / self._pace.gap), 3 * self._pace.gap))
                else:
                    await asyncio.sleep(0.05)
                if not self._deck:
                    self._deck, rounds = self._shuffled(), rounds + 1

    def _shuffled(self) -> list[Injection]:
        """Return what comes next: each sort once, on one of those it can be done to."""
        if self._each_once:
            return self._dice.sample(self._injections, len(self._injections))
        sorts: dict[str, list[Injection]] = defaultdict(list)
        for one in self._injections:
            sorts[one.sort].append(one)
        chosen = [self._dice.choice(alike) for alike in sorts.values()]
        return self._dice.sample(chosen, len(chosen))

    def _next(self) -> Injection | None:
        """Take the next one whose target is whole; only one at a time of those that all feel."""
        if len(self._busy) >= TOGETHER:
            return None
        shared = any(one.shared for one in self._busy.values())
        for index, one in enumerate(self._deck):
            if one.target not in self._busy and not (one.shared and shared):
                return self._deck.pop(index)
        return None

    async def _inject(self, injection: Injection) -> None:
        began = time.monotonic()
        trouble = ""
        try:
            longest = self._pace.longest
            await injection.act(longest * 12 ** -(self._dice.random() ** 0.5))
        except TimeoutError:
            trouble = f"{injection.name}: not back in time"
        finally:
            del self._busy[injection.target]
        now = time.monotonic()
        self.done.append(Done(injection.name, injection.sort, began - self._began, now - began, trouble))


def _each_once(injections: list[Injection], dice: random.Random) -> list[Injection]:
    chosen: dict[str, Injection] = {}
    for one in dice.sample(injections, len(injections)):
        chosen.setdefault(one.name if one.kind == "killed" else one.kind, one)
    return list(chosen.values())
