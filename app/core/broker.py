"""Sending tasks by name, from any process of the platform."""

from functools import cache
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.core.config import settings
from app.stream import carrier
from app.wire.errors import Unavailable
from app.wire.names import GENERATE, inference_queue

log = structlog.get_logger(__name__)


@cache
def celery() -> Celery:
    """Return the Celery application that sends; the workers build theirs upon it."""
    carrier.use()
    app = Celery("meatlizard", broker=settings().broker, amqp="celeryconfig:Discreet", set_as_current=False)
    app.config_from_object("celeryconfig")
    return app


def enqueue(task: str, *args: Any, **options: Any) -> None:
    """Send a task to the queue that its name stands for; raise Unavailable where the broker is away."""
    try:
        celery().send_task(task, args=args, **options)
    except (OperationalError, OSError) as error:
        raise Unavailable from error


def ask_relay(task: str, *args: Any, **options: Any) -> None:
    """Send the Server-Bot a task, where there is a Discord; nothing that a person waits for depends on it."""
    if not settings().discord:
        return
    try:
        enqueue(task, *args, **options)
    except Unavailable as error:
        log.warning("relay.later", task=task, subject=args[0], error=str(error))


def enqueue_job(node: str, turn: str, attempt: int, envelope: str) -> None:
    """Send a sealed job to one node; what Flower and the logs show of it is the turn, the attempt and no more."""
    enqueue(
        GENERATE,
        turn,
        attempt,
        envelope,
        queue=inference_queue(node),
        argsrepr=f"({turn!r}, {attempt}, '<sealed>')",
    )
