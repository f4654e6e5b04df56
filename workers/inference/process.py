"""Starting the node's worker."""

import os
import sys
from collections.abc import Callable

from celery.utils.nodenames import default_nodename, host_format

from app import parting
from app.wire import names
from workers.inference.node import Door, Node


def run(name: str, more: Callable[[Node], Door | None]) -> None:
    """Consume the node's queue until SIGTERM; `more` gives the node another door beside."""
    os.environ["MEATLIZARD_NODE"] = name
    # Imported here because the application reads the node's settings, which the line above points at.
    from workers.inference.app import app, node, settings

    sys.setswitchinterval(names.SWITCH_SECONDS)
    beside = more(node())
    if beside is not None:
        node().add(beside)
    consumer = app.Worker(
        hostname=host_format(default_nodename(f"{settings().node}@%h")),
        pool="threads",
        # One more than the slots: dispatch never sends more turns, so a thread is always there to refuse a repeat.
        concurrency=settings().slots + 1,
        queues=[names.inference_queue(settings().node)],
        without_gossip=True,
        without_mingle=True,
        loglevel=settings().log_level,
        quiet=True,
    )
    parting.run(consumer)
