"""How long a waiting turn will wait: its place in the line, played through on the slots of the nodes that can take it."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from app.core import redis
from app.services import queue
from app.services.queue import Waiting
from app.wire import names

RECENT_TURNS: Final = 50
"""Turns of a node whose durations make its estimate."""
LEFT_SHARE: Final = 0.25
"""A turn that has run longer than every recent one is taken to need this much of a usual one still."""


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


def remember(node: str, milliseconds: float) -> None:
    """Count the duration of a turn that was answered into its node's estimate."""
    with redis.client().pipeline(transaction=False) as pipe:
        pipe.lpush(names.node_recent(node), round(milliseconds))
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
            found[name] = Slots((model or b"").decode(), _numbers(recent), running, _count(count))
    return found


def played(line: Sequence[Waiting], nodes: Mapping[str, Slots]) -> list[Place]:
    """Play the line through on the nodes' slots, each turn as long as half of the node's recent ones, and return the places."""
    usual = {name: median(node.recent) for name, node in nodes.items() if node.recent}
    over_all = median([seconds for node in nodes.values() for seconds in node.recent] or [0.0])
    free: dict[str, list[float]] = {}
    for name, node in nodes.items():
        lasts = usual.get(name, over_all)
        times = [_left(node.recent, ran, lasts) for ran in node.running] + [0.0] * (node.slots - len(node.running))
        # More may run than there are slots now: the latest of them then free none.
        free[name] = sorted(times)[max(0, len(times) - node.slots) :]
        heapq.heapify(free[name])
    told = []
    for index, turn in enumerate(line):
        able = [name for name, node in nodes.items() if free[name] and turn.model in ("", node.model)]
        if not able or not over_all:
            told.append(Place(index + 1, None))
            continue
        best = min(able, key=lambda name: free[name][0])
        begins = free[best][0]
        heapq.heapreplace(free[best], begins + usual.get(best, over_all))
        told.append(Place(index + 1, begins))
    return told


def _left(recent: Sequence[float], ran: float, usual: float) -> float:
    longer = [seconds - ran for seconds in recent if seconds > ran]
    return median(longer) if longer else usual * LEFT_SHARE


def _numbers(raw: Sequence[bytes]) -> list[float]:
    found = []
    for one in raw:
        try:
            found.append(max(0.0, float(one) / 1000))
        except ValueError:
            continue  # Not of our writing; it makes no estimate and breaks none.
    return found


def _count(raw: bytes | None) -> int:
    try:
        return max(0, int(raw or 0))
    except ValueError:
        return 0
