"""Tasks of the queue `metrics`: figures from Redis into PostgreSQL, samples, sums, and what is kept of them."""

from celery import shared_task

from app.services import metrics, partitions, rollup, samples
from app.wire import names
from workers.retries import AGAIN


@shared_task(name=names.LOG_METRICS, **AGAIN)
def log() -> None:
    """Write the figures that wait into PostgreSQL, in batches."""
    metrics.drain()


@shared_task(name=names.SAMPLE_METRICS)
def sample() -> None:
    """Measure nodes and queues once."""
    samples.take()


@shared_task(name=names.ROLL_UP_METRICS)
def roll_up() -> None:
    """Bring the sums up to date."""
    rollup.roll_up()


@shared_task(name=names.KEEP_METRICS)
def keep() -> None:
    """Make the days to come, drop those that are over, and mend what never came."""
    partitions.make_ahead()
    metrics.mend()
    partitions.drop_old()
    rollup.forget()
