"""The node's Celery application: it consumes its own queue, and its tasks run on the node's loop."""

import logging
import os
from functools import cache
from typing import Any, ClassVar

from celery import Celery, bootsteps
from celery.signals import setup_logging, worker_shutting_down
from celery.worker.components import Pool

from app import logs
from app.wire import names
from workers.inference import transport
from workers.inference.node import Node
from workers.inference.queue import QueueDoor
from workers.inference.settings import NodeSettings, load
from workers.inference.telling import Gathering


@cache
def settings() -> NodeSettings:
    """Return this node's settings, read once."""
    return load(os.environ["MEATLIZARD_NODE"])


def broker() -> str:
    """Return where the queue lane is."""
    url = settings().redis_url
    if url is None:
        raise ValueError("MEATLIZARD_REDIS_URL is not set: run `meatlizard up` first, or name the stack with --home.")
    return url.get_secret_value()


transport.use()
app = Celery("node", broker=broker(), amqp="celeryconfig:Discreet")
app.config_from_object("celeryconfig")
# Celery's remote control is one channel for all workers: a node that may speak on it could shut the platform's down.
app.conf.worker_enable_remote_control = False


@cache
def node() -> Node:
    """Return this process's node."""
    return Node(settings())


@cache
def door() -> QueueDoor:
    """Return its door to the broker."""
    made = QueueDoor(node(), broker(), node().keys)
    node().add(made)
    return made


class NodeStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types.
    """Owns the node's loop for as long as the worker runs."""

    # It starts before the pool, which is made to require it below, and stops after it: replies in flight can still be
    # handed on when the pool has ended. Requiring the timer alone would leave the order of the two to chance.
    requires: ClassVar = {"celery.worker.components:Timer"}

    def start(self, parent: Any) -> None:
        """Start the loop, the engine and the doors."""
        door()
        node().start()

    def stop(self, parent: Any) -> None:
        """Stop them."""
        node().stop()

    terminate = stop


app.steps["worker"].add(NodeStep)
app.steps["consumer"].add(Gathering)
Pool.requires = (*Pool.requires, NodeStep)


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    node().drain()


@setup_logging.connect
def _logs(**_: object) -> None:
    logs.configure(f"node {settings().node}", settings().log_level, settings().log_format)
    # That a task has come in is said on the way to its first token; that it has ended, and what came of it, is said too.
    if settings().log_level != "DEBUG":
        logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)


@app.task(name=names.GENERATE)
def generate(turn: str, attempt: int, envelope: str) -> None:
    """Run one attempt at one turn."""
    door().generate(turn, attempt, envelope)
