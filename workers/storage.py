"""Tasks of the queue `storage`: transcripts and backups on their way to the object store."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Any, Final

import structlog
from celery import shared_task

from app.core import redis
from app.services import transcripts
from app.wire import names
from app.wire.errors import Busy, Unavailable

log = structlog.get_logger(__name__)

_ONE: Final = Semaphore(1)
"""One task at a time speaks with the store: where that hangs, the worker's other threads still finish turns."""
AGAIN: Final[dict[str, Any]] = {
    "autoretry_for": (Busy, Unavailable, *redis.ERRORS),
    "retry_backoff": 2,
    "retry_backoff_max": 600,
    "retry_jitter": True,
    "max_retries": None,
}
"""Task options: back off up to 10 minutes, below the broker's visibility timeout, for as long as it takes."""


@contextmanager
def alone() -> Iterator[None]:
    """Have the store to oneself; raise Busy where another task has it."""
    if not _ONE.acquire(blocking=False):
        raise Busy("Another transcript or backup is under way; this one is tried again.")
    try:
        yield
    finally:
        _ONE.release()


@shared_task(name=names.UPLOAD_TRANSCRIPT, **AGAIN)
def upload_transcript(session: str) -> None:
    """Keep a session's transcript, if one is asked for."""
    with alone():
        transcripts.upload(session)


@shared_task(name=names.SWEEP_STORAGE)
def sweep() -> None:
    """Look for idle sessions, for what was forgotten on the way, and for what is too old."""
    for session in transcripts.sweep():
        transcripts.hurry(session)
    try:
        with alone():
            transcripts.tidy()
    except (Busy, Unavailable) as error:
        log.info("storage.later", error=str(error))
