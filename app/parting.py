"""Seeing to it that a worker whose end has begun comes to it."""

import os
import sys
import threading
from typing import Any, Final, NoReturn

import structlog

from app import garbage

log = structlog.get_logger(__name__)

PARTING_SECONDS: Final = 20.0
"""How long a worker may take to end by itself after an error that Celery cannot go on from."""


def run(worker: Any) -> NoReturn:
    """Run a Celery worker to its end and leave with its exit status.

    After an error that it cannot go on from, a worker waits for its threads before it ends, and one of them may wait for a
    server that will never answer: it would neither work nor be started again. What a thread had in hand is taken up
    again as after a SIGKILL. An end that was asked for is not cut short: replies in flight are finished first.
    """
    stop = worker.stop

    def stop_in_time(*given: Any, **options: Any) -> None:
        # The exit status does not tell: Celery gives Ctrl-C the same one as an error. An end that was asked for is a
        # SystemExit or KeyboardInterrupt.
        if isinstance(sys.exc_info()[1], Exception):
            watch = threading.Timer(PARTING_SECONDS, _end)
            watch.daemon = True
            watch.start()
        stop(*given, **options)

    worker.stop = stop_in_time
    garbage.spare()
    worker.start()
    raise SystemExit(worker.exitcode)


def _end() -> None:
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
    log.error("worker.hangs", threads=threads, seconds=PARTING_SECONDS)
    os._exit(1)
