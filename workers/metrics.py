"""Tasks of the queue `metrics`."""

from typing import Any

from celery import shared_task

from app.services import metrics
from app.wire import names
from workers.retries import AGAIN


@shared_task(name=names.LOG_METRICS, **AGAIN)
def log(row: dict[str, Any]) -> None:
    """Keep one turn's figures."""
    metrics.log(row)
