"""Starting the worker."""

import sys
from typing import Final

from celery.utils.nodenames import default_nodename, host_format

from app import parting
from app.core import panel
from app.core.config import settings
from app.core.presence import Presence
from app.wire import names
from workers.app import TASKS, app
from workers.inbox import InboxStep

# Worker and beat are started from Python rather than through Celery's command line, which would load its interactive
# shell and every other command into each of them: 20 MB a process. Each has a module of its own, so that beat and Flower
# do not load what only the worker needs.

THREADS: Final = 4
"""Tasks of the platform at once: they are short and wait for PostgreSQL most of their time."""


def worker() -> None:
    """Consume the platform's queues until SIGTERM."""
    app.conf.include = TASKS
    app.steps["worker"].add(InboxStep)
    panel.narrow()
    consumer = app.Worker(
        hostname=host_format(default_nodename("worker@%h")),
        pool="threads",
        concurrency=THREADS,
        queues=list(names.PLATFORM_QUEUES),
        without_gossip=True,
        without_mingle=True,
        loglevel=settings().log_level,
        quiet=True,
    )
    sys.setswitchinterval(names.SWITCH_SECONDS)
    Presence("worker").start()
    parting.run(consumer)
