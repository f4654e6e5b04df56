"""Starting Celery's processes on the platform: worker, beat and Flower."""

import os
from typing import Final

from app.core.config import settings
from app.wire import names
from workers.app import app

THREADS: Final = 4
"""Tasks of the platform at once: they are short and wait for PostgreSQL most of their time."""


def worker() -> None:
    """Consume the platform's queues until SIGTERM."""
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={THREADS}",
            f"--queues={','.join(names.PLATFORM_QUEUES)}",
            "--hostname=worker@%h",
            "--without-gossip",
            "--without-mingle",
            f"--loglevel={settings().log_level}",
        ]
    )


def beat() -> None:
    """Send the scheduled tasks until SIGTERM."""
    app.start(["beat", f"--loglevel={settings().log_level}", "--pidfile="])


def flower() -> None:
    """Show the tasks in the browser until SIGTERM."""
    # By the environment: an argument would stand in the process list for everyone to read.
    os.environ["FLOWER_BASIC_AUTH"] = f"{settings().flower_user}:{settings().flower_password.get_secret_value()}"
    app.start(["flower", f"--address={settings().host}", f"--port={settings().flower_port}", "--purge-offline-workers=60"])
