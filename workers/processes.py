"""Starting Celery's processes on the platform: worker, beat and Flower."""

import os
from typing import Final

from celery.utils.nodenames import default_nodename, host_format

from app.core.config import home, settings
from app.core.presence import Presence
from app.wire import names
from workers.app import TASKS, app
from workers.inbox import InboxStep

# Worker and beat are started from Python rather than through Celery's command line, which would load its interactive
# shell and every other command into each of them: 20 MB a process.

FLOWER_PREFIX: Final = "flower"
"""Where the page passes Flower on (app.web.flower)."""
FLOWER_SAVES_MS: Final = 15_000
"""What a killed Flower forgets, in milliseconds."""
FLOWER_TASKS: Final = 10_000
"""Tasks it remembers: some 20 MB."""
THREADS: Final = 4
"""Tasks of the platform at once: they are short and wait for PostgreSQL most of their time."""


def worker() -> None:
    """Consume the platform's queues until SIGTERM."""
    app.conf.include = TASKS
    app.steps["worker"].add(InboxStep)
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
    Presence("worker").start()
    consumer.start()
    raise SystemExit(consumer.exitcode)


def beat() -> None:
    """Send the scheduled tasks until SIGTERM."""
    Presence("beat").start()
    app.Beat(loglevel=settings().log_level, pidfile=None, quiet=True).run()


def flower() -> None:
    """Show the tasks in the browser until SIGTERM."""
    # By the environment: an argument would stand in the process list for everyone to read. The page at /flower adds it to
    # what it passes on; nobody has to type it.
    os.environ["FLOWER_BASIC_AUTH"] = f"{settings().flower_user}:{settings().flower_password.get_secret_value()}"
    history = home() / "data" / "flower"
    history.mkdir(mode=0o700, parents=True, exist_ok=True)
    app.start(
        [
            "flower",
            f"--address={settings().host}",
            f"--port={settings().flower_port}",
            f"--url-prefix={FLOWER_PREFIX}",
            # To look, not to touch: what a person does to the platform goes through the platform, and into its trail.
            "--read-only=True",
            "--purge-offline-workers=60",
            f"--db={history / 'tasks'}",
            "--persistent=True",
            f"--state-save-interval={FLOWER_SAVES_MS}",
            f"--max-tasks={FLOWER_TASKS}",
        ]
    )
