"""Starting beat, with no more than the schedule in it: no service, no task of the worker's."""

from app.core.config import settings
from app.core.presence import Presence
from workers.app import app


def run() -> None:
    """Send the scheduled tasks until SIGTERM."""
    Presence("beat").start()
    app.Beat(loglevel=settings().log_level, pidfile=None, quiet=True).run()
