"""The platform's Celery application: its tasks, their queues and the beat's schedule."""

from typing import Any

from celery import Celery
from celery.schedules import ParseException, crontab
from celery.signals import setup_logging

from app import logs
from app.core import broker
from app.core.config import settings
from app.wire import names

TASKS = ("workers.turns", "workers.metrics", "workers.storage", "workers.upkeep")
"""What the worker carries out; beat and Flower only know the names."""


def schedule() -> dict[str, dict[str, Any]]:
    """Return what beat sends, and when."""
    found: dict[str, dict[str, Any]] = {
        "sweep": _every(names.SWEEP, names.SWEEP_SECONDS),
        "storage": _every(names.SWEEP_STORAGE, names.STORAGE_SWEEP_SECONDS),
        "log-metrics": _every(names.LOG_METRICS, names.LOG_SECONDS),
        "sample-metrics": _every(names.SAMPLE_METRICS, names.SAMPLE_SECONDS),
        "roll-up-metrics": _every(names.ROLL_UP_METRICS, names.ROLL_UP_SECONDS),
        "keep-metrics": _every(names.KEEP_METRICS, 3600),
        "forget-conversations": _every(names.FORGET_CONVERSATIONS, 3600),
        "sweep-erasures": _every(names.SWEEP_ERASURES, names.ERASURE_SECONDS),
        "expire-logins": _every(names.EXPIRE_LOGINS, 3600),
    }
    if line := settings().backup_schedule.strip():
        # A worker that was down at the hour takes it up when it is back.
        found["backup"] = {"task": names.SCHEDULED_BACKUP, "schedule": _cron(line), "options": {"expires": 12 * 3600}}
    return found


def _cron(line: str) -> crontab:
    try:
        return crontab.from_string(line)
    except (ValueError, ParseException) as error:
        raise ValueError(f"MEATLIZARD_BACKUP_SCHEDULE is not right: {line!r} is no cron line such as '15 3 * * *'.") from error


def _every(task: str, seconds: float) -> dict[str, Any]:
    # What was not run in its time is sent again anyway.
    return {"task": task, "schedule": float(seconds), "options": {"expires": seconds}}


app: Celery = broker.celery()
app.conf.update(
    beat_schedule=schedule(),
    beat_scheduler="workers.scheduler:RowScheduler",
    beat_max_loop_interval=names.SWEEP_SECONDS,
)
app.set_default()


@setup_logging.connect
def _logs(**_: object) -> None:
    # Connecting at all is what keeps Celery from setting up logging of its own.
    logs.configure("worker", settings().log_level, settings().log_format)
