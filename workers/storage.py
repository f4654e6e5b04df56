"""Tasks of the queue `storage`: transcripts and backups on their way to the object store."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Any, Final

import structlog
from celery import shared_task

from app.core import redis
from app.services import backups, proof, transcripts
from app.services.proof import Scratch
from app.wire import names
from app.wire.errors import Busy, Unavailable
from app.wire.states import Door

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


_scratch: list[Scratch] = []


def provide(scratch: Scratch) -> None:
    """Say where backups are proven; the command that starts the worker knows how a PostgreSQL is made."""
    _scratch[:] = [scratch]


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
            for backup in backups.tidy():
                backups.hurry(backup)
    except (Busy, Unavailable) as error:
        log.info("storage.later", error=str(error))


@shared_task(name=names.SCHEDULED_BACKUP)
def scheduled_backup() -> None:
    """Ask for the backup that is due."""
    if backups.due():
        backups.begin("beat", Door.BEAT)


@shared_task(name=names.TAKE_BACKUP, **AGAIN)
def take_backup(backup: str) -> None:
    """Take a backup that was asked for, and prove it."""
    with alone():
        if backups.take(backup) and _scratch:
            proof.prove(backup, _scratch[0])
