"""How long a waiting turn will wait: its place in the line, played through on the slots of the nodes that can take it."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Final

from app.core import redis
from app.services import nodes, queue
from app.services.queue import Waiting
from app.wire import names

RECENT_TURNS: Final = 50
"""Turns of a node whose durations make its estimate."""
LEFT_SHARE: Final = 0.25
"""A turn that has run longer than every recent one is taken to need this much of a usual one still."""


MOVES: Final = 2000
FEWEST_GAMES: Final = 9
MOST_GAMES: Final = 63
"""How often a line is played through: a short one often, a long one seldom, so that each telling costs milliseconds."""


@dataclass(frozen=True, slots=True)
class Slots:
    """One node as the estimate sees it."""

    model: str
    recent: Sequence[float]
    """Seconds that its latest turns took."""
    running: Sequence[float]
    """For how many seconds each turn on it runs already."""
    slots: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting turn stands: 1 is next. `eta` is in seconds; None where nobody can say."""

    position: int
    eta: float | None


def remember(node: str, *milliseconds: float) -> None:
    """Count the durations of turns that were answered into their node's estimate."""
    with redis.client().pipeline(transaction=False) as pipe:
        pipe.lpush(names.node_recent(node), *(round(one) for one in milliseconds))
        pipe.ltrim(names.node_recent(node), 0, RECENT_TURNS - 1)
        pipe.execute()


def places(most: int) -> list[tuple[Waiting, Place]]:
    """Return who waits, in order, and what each may be told; `most` of them."""
    line = queue.line(most)
    return list(zip(line, played(line, slots()), strict=True)) if line else []


def typical_seconds() -> float | None:
    """Return the median duration of recent turns on the nodes that take turns, in seconds; None where there were none."""
    recent = [seconds for node in slots().values() for seconds in node.recent]
    return median(recent) if recent else None


def slots() -> dict[str, Slots]:
    """Return the nodes that take turns."""
    client = redis.client()
    known = [name.decode() for name in client.smembers(names.NODES)]
    with client.pipeline(transaction=False) as pipe:
        for name in known:
            pipe.hmget(names.node_key(name), "state", "slots", "model")
            pipe.lrange(names.node_recent(name), 0, RECENT_TURNS - 1)
            pipe.smembers(names.node_leases(name))
        pipe.smembers(names.DRAINING)
        pipe.zrange(names.LEASES, 0, -1, withscores=True)
        pipe.time()
        *told, draining, leases, (seconds, micros) = pipe.execute()
    since = {turn: float(at) / 1000 for turn, at in leases}
    now = seconds + micros / 1e6
    found = {}
    for index, name in enumerate(known):
        (state, count, model), recent, taken = told[3 * index : 3 * index + 3]
        if state == b"ready" and name.encode() not in draining:
            running = [max(0.0, now - since.get(turn, now)) for turn in taken]
            found[name] = Slots((model or b"").decode(errors="replace"), _numbers(recent), running, nodes.slots(count))
    return found


def played(line: Sequence[Waiting], nodes: Mapping[str, Slots]) -> list[Place]:
    """Play the line through on the nodes' slots, many times, and return the places with the middle of the waits.

    Each turn lasts as long as one of the node's recent ones, taken by dice: how long the first of several slots takes to
    come free, and how long several turns take together, no single usual duration tells.
    """
    everywhere = [seconds for node in nodes.values() for seconds in node.recent]
    lasts = {name: node.recent or everywhere for name, node in nodes.items()}
    able = [[name for name, node in nodes.items() if node.slots and turn.model in ("", node.model)] for turn in line]
    begins: list[list[float]] = [[] for _ in line]
    for game in range(max(FEWEST_GAMES, min(MOST_GAMES, MOVES // max(1, len(line)))) if everywhere else 0):
        # The same dice each time: what people are told changes where the line does, not by chance.
        dice = Random(game)
        free = {name: _free(node, lasts[name], dice) for name, node in nodes.items()}
        for index, able_now in enumerate(able):
            if able_now:
                best = min(able_now, key=lambda name: free[name][0])
                begins[index].append(free[best][0])
                heapq.heapreplace(free[best], free[best][0] + dice.choice(lasts[best]))
    return [Place(index + 1, median(times) if times else None) for index, times in enumerate(begins)]


def _free(node: Slots, lasts: Sequence[float], dice: Random) -> list[float]:
    times = [_left(lasts, ran, dice) for ran in node.running] + [0.0] * (node.slots - len(node.running))
    # More may run than there are slots now: the latest of them then free none.
    return sorted(times)[max(0, len(times) - node.slots) :]


def _left(lasts: Sequence[float], ran: float, dice: Random) -> float:
    longer = [seconds - ran for seconds in lasts if seconds > ran]
    return dice.choice(longer) if longer else median(lasts) * LEFT_SHARE


def _numbers(raw: Sequence[bytes]) -> list[float]:
    found = []
    for one in raw:
        try:
            found.append(max(0.0, float(one) / 1000))
        except ValueError:
            continue  # Not of our writing; it makes no estimate and breaks none.
    return found
