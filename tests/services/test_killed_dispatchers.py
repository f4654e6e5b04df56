"""Killed anywhere in what they do, the processes that choose lose no slot and no turn."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from sqlalchemy import func, select

from app.core import redis
from app.core.db import transaction
from app.core.models import Message, Turn
from app.services import sweep
from app.wire import names
from app.wire.states import Role, TurnState
from tests.services import dispatcher
from tests.services.dispatcher import SLOTS
from tests.support import nodes
from tests.support.long import times
from tests.support.people import Member, member
from tests.support.servers import Servers
from tests.support.waiting import until

HELD = "ml:queue:held"
"""Whose turns run, in the queue's own books (app.core.queueing)."""
KILLS = times(20, 500)
CROWD = 3
"""Processes that are at it at the same time."""
MOMENT_SECONDS = 0.03
"""After so long at most one is killed: some are in the middle of their first act, some of their tenth."""
AGE_EVERY = 5
SEED = 11


@dataclass
class Crowd:
    """The processes, the oldest first."""

    home: str
    people: list[tuple[str, str]]
    context: Any
    born: int = 0

    def __post_init__(self) -> None:
        self.context.set_forkserver_preload([dispatcher.__name__])
        self.living: list[Any] = []

    def join(self) -> None:
        """Let one more begin, and return when it has."""
        here, there = self.context.Pipe(False)
        self.born += 1
        process = self.context.Process(target=dispatcher.work, args=(self.home, SEED + self.born, self.people, there), daemon=True)
        process.start()
        there.close()
        assert here.poll(60), "it never began"
        here.recv_bytes()
        here.close()
        self.living.append(process)

    def kill(self) -> None:
        """End the oldest, wherever it is."""
        victim = self.living.pop(0)
        assert victim.is_alive(), "it ended by itself"
        victim.kill()
        victim.join()


@contextmanager
def crowd(servers: Servers, people: list[tuple[str, str]]) -> Iterator[Crowd]:
    made = Crowd(str(servers.home.path), people, get_context("forkserver"))
    try:
        for _ in range(CROWD):
            made.join()
        yield made
    finally:
        while made.living:
            made.kill()


def taken() -> dict[str, int]:
    return {name: redis.client().scard(names.node_leases(name)) for name in SLOTS}


def age() -> None:
    """Let every attempt under way have been silent for longer than anybody waits."""
    client = redis.client()
    long_ago = (int(client.time()[0]) - 60) * 1000
    for turn in client.zrange(names.LEASES, 0, -1):
        client.zadd(names.LEASES, {turn: long_ago}, xx=True)
        client.eval("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'seen', ARGV[1]) end", 1, names.turn_meta(turn.decode()), long_ago)


def unfinished() -> int:
    with transaction() as tx:
        return tx.scalar(select(func.count()).where(Turn.finished_at.is_(None))) or 0


def settle() -> bool:
    """One round of what goes on by itself: silence is noticed, nodes answer what they are given."""
    age()
    sweep.sweep()
    for name in SLOTS:
        for job in nodes.jobs(name):
            nodes.finish(job, node=name)
    return not unfinished()


def test_kills_anywhere_lose_no_slot_and_no_turn(servers: Servers, ada: Member, bob: Member) -> None:
    for name, slots in SLOTS.items():
        nodes.ready(name, slots)
    dice = random.Random(SEED)
    people = [(one.id, one.session()) for one in (ada, bob, member("cid"))]
    with crowd(servers, people) as at_work:
        for number in range(KILLS):
            time.sleep(dice.uniform(0, MOMENT_SECONDS))  # The moment is what is tried; nothing is waited for.
            at_work.kill()
            assert all(taken()[name] <= slots for name, slots in SLOTS.items())
            if number % AGE_EVERY == 0:
                age()
            at_work.join()
    until(settle, 60)
    with transaction() as tx:
        states = dict(tx.execute(select(Turn.state, func.count()).group_by(Turn.state)).all())
        answered = tx.scalar(select(func.count()).where(Turn.reply_id.is_not(None)))
        replies = tx.scalar(select(func.count()).where(Message.role == Role.ASSISTANT.value))
    assert replies == answered, "one reply for each turn that was answered"
    assert states[TurnState.DONE]
    client = redis.client()
    assert taken() == dict.fromkeys(SLOTS, 0)
    assert not client.exists(names.LEASES, HELD, names.WAITING, names.RING)
    asked = [ada.ask(people[0][1]).turn for _ in range(sum(SLOTS.values()) + 2)]
    assert {name: len(nodes.jobs(name)) for name in SLOTS} == SLOTS, "every slot there is takes a turn, and no more"
    assert client.scard(names.WAITING) == 2
    print(f"{KILLS} kills, {sum(states.values())} turns: {states}")
    assert len(asked) == len(set(asked))
