"""A small process that does what any process of the platform may: asks, gives out, finishes, stops, sweeps; until it is killed."""

import os
import random
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Final
from uuid import uuid4

from sqlalchemy import text

from app.core import keys, redis
from app.core.db import transaction
from app.services import dispatch, queue, sweep, turns
from app.wire import names
from app.wire.errors import MeatLizardError
from app.wire.jobs import Job
from app.wire.states import Door
from tests.support import nodes, tasks

SLOTS: Final = {"home": 2, "away": 3}
CROWDED: Final = 12
"""With so many waiting nobody asks for more."""
People = Sequence[tuple[str, str]]
"""Users, and a session of each."""


def _ask(dice: random.Random, people: People) -> None:
    if redis.client().scard(names.WAITING) < CROWDED:
        turns.submit(*dice.choice(people), str(uuid4()), "Why?", None, Door.WEB, limited=False)


def _finish(dice: random.Random, people: People) -> None:
    node = dice.choice(list(SLOTS))
    if task := tasks.take(redis.client(), names.inference_queue(node)):
        turn, attempt, envelope = task[1]
        nodes.finish(Job.open(envelope, keys.node(node), turn, attempt), node=node)


def _stop(dice: random.Random, people: People) -> None:
    if waiting := queue.line(CROWDED):
        one = dice.choice(waiting)
        turns.stop(one.turn, one.user)


def _dispatch(dice: random.Random, people: People) -> None:
    dispatch.dispatch()


def _sweep(dice: random.Random, people: People) -> None:
    sweep.sweep()


ACTS: Final[dict[Callable[[random.Random, People], None], int]] = {_ask: 6, _finish: 6, _dispatch: 3, _sweep: 2, _stop: 1}


def work(home: str, seed: int, people: People, begun: Connection) -> None:
    """Do one thing after the other for ever; says so once its connections are there."""
    os.environ |= {"MEATLIZARD_HOME": home, "MEATLIZARD_GUESTS": "off"}
    redis.client().ping()
    with transaction() as tx:
        tx.execute(text("select 1"))
    dice = random.Random(seed)
    begun.send_bytes(b"1")
    while True:
        act = dice.choices(list(ACTS), list(ACTS.values()))[0]
        try:
            act(dice, people)
        except MeatLizardError:
            continue  # The others were faster: what it wanted to stop has ended.
