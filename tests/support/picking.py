"""Choosing one turn of the queue, as the dispatcher does with many."""

from app.services import queue
from app.services.queue import Lease


def pick() -> Lease | None:
    """Lease the next turn to a node with a free slot; None where nobody waits or no slot is free."""
    return next(iter(queue.pick_all(1)), None)
