"""What people are told of their wait, held against what it then is, in a world whose time is a number."""

import heapq
import random
from collections.abc import Iterator
from itertools import count

import pytest

from app.services.estimate import Slots, played
from app.services.queue import Waiting

MIDDLE_SECONDS = 1.2
SPREAD = 0.5
"""Of the logarithm of a reply's duration: most take half to twice as long as the middle one."""
NEAR, SHARE = 0.3, 0.8
"""The promise: within 30 % for 80 % of those who wait."""
TOLD = 250


def waiting(turn: int) -> Waiting:
    return Waiting(str(turn), "user", "session", 1, "", "")


def lasts(dice: random.Random) -> float:
    return MIDDLE_SECONDS * dice.lognormvariate(0, SPREAD)


def world(people: int, dice: random.Random) -> Iterator[tuple[float, float]]:
    """People who ask, wait for the reply, think, and ask again, on two nodes with two slots each; what was told, and what was."""
    nodes: dict[str, dict[int, float]] = {"home": {}, "away": {}}
    recent = {name: [lasts(dice) for _ in range(25)] for name in nodes}
    events = [(dice.random(), person, "") for person in range(people)]
    heapq.heapify(events)
    line: list[int] = []
    told: dict[int, tuple[float, float]] = {}
    for _ in count():
        now, turn, node = heapq.heappop(events)
        if node:
            recent[node] = [now - nodes[node].pop(turn), *recent[node][:49]]
            heapq.heappush(events, (now + dice.expovariate(1 / MIDDLE_SECONDS), turn, ""))
        else:
            line.append(turn)
        while line and (free := [name for name in nodes if len(nodes[name]) < 2]):
            first, name = line.pop(0), min(free, key=lambda one: len(nodes[one]))
            nodes[name][first] = now
            heapq.heappush(events, (now + lasts(dice), first, name))
            if first in told:
                at, eta = told.pop(first)
                yield eta, now - at
        if not node and turn in line:
            running = {name: Slots("", recent[name], [now - since for since in taken.values()], 2) for name, taken in nodes.items()}
            eta = played([waiting(one) for one in line], running)[-1].eta
            assert eta is not None
            told[turn] = (now, eta)


@pytest.mark.parametrize("people", [24, 40])
def test_the_wait_is_near_what_was_told(people: int) -> None:
    seen = [one for _, one in zip(range(TOLD), world(people, random.Random(people)), strict=False)]
    near = sum(abs(was - eta) <= NEAR * eta for eta, was in seen)
    assert near >= SHARE * len(seen), f"{near} of {len(seen)}"


def test_one_turn_of_an_hour_among_many_of_a_second_moves_nothing() -> None:
    nodes = {"home": Slots("", [1.0] * 20 + [3600.0], [0.5], 1)}
    [first, second] = played([waiting(1), waiting(2)], nodes)
    assert first.eta == pytest.approx(0.5)
    assert second.eta == pytest.approx(1.5)


def test_the_first_of_many_slots_is_free_sooner_than_the_usual_turn_takes() -> None:
    recent = [float(seconds) for seconds in range(1, 10)]
    [alone] = played([waiting(1)], {"home": Slots("", recent, [0.0], 1)})
    [among] = played([waiting(1)], {"home": Slots("", recent, [0.0] * 8, 8)})
    assert (alone.eta or 0) > 2 * (among.eta or 0) > 0


def test_nobody_is_told_what_nobody_knows() -> None:
    assert [one.eta for one in played([waiting(1)], {"home": Slots("", [], [], 1)})] == [None]
    assert [one.eta for one in played([waiting(1)], {})] == [None]
    wants = Waiting("1", "user", "session", 1, "large", "")
    assert [one.eta for one in played([wants], {"home": Slots("small", [1.0], [], 1)})] == [None]
