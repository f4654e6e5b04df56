"""The platform's Celery application: its tasks, their queues and the beat's schedule."""

from celery import Celery
from celery.signals import setup_logging

from app import logs
from app.core import broker
from app.core.config import settings
from app.wire import names

TASKS = ("workers.turns", "workers.metrics", "workers.upkeep")
"""What the worker carries out; beat and Flower only know the names."""

app: Celery = broker.celery()
app.conf.update(
    beat_schedule={
        "sweep": {"task": names.SWEEP, "schedule": names.SWEEP_SECONDS, "options": {"expires": names.SWEEP_SECONDS}},
        "log-metrics": {
            "task": names.LOG_METRICS, "schedule": names.LOG_SECONDS, "options": {"expires": names.LOG_SECONDS}
        },
        "sample-metrics": {
            "task": names.SAMPLE_METRICS, "schedule": names.SAMPLE_SECONDS, "options": {"expires": names.SAMPLE_SECONDS}
        },
        "roll-up-metrics": {
            "task": names.ROLL_UP_METRICS, "schedule": names.ROLL_UP_SECONDS, "options": {"expires": names.ROLL_UP_SECONDS}
        },
        "keep-metrics": {"task": names.KEEP_METRICS, "schedule": 3600.0, "options": {"expires": 3600}},
        "expire-logins": {"task": names.EXPIRE_LOGINS, "schedule": 3600.0, "options": {"expires": 3600}},
        "forget-conversations": {
            "task": names.FORGET_CONVERSATIONS,
            "schedule": 3600.0,
            "options": {"expires": 3600},
        },
    },
    # Kept in memory: every entry may be run again at any time, so there is nothing to remember over a restart.
    beat_scheduler="celery.beat:Scheduler",
    beat_max_loop_interval=names.SWEEP_SECONDS,
)
app.set_default()


@setup_logging.connect
def _logs(**_: object) -> None:
    # Connecting at all is what keeps Celery from setting up logging of its own.
    logs.configure("worker", settings().log_level)
