"""The Server-Bot's Celery application, and the step of its worker that owns the connection to Discord."""

from functools import cache
from typing import Any, ClassVar

from celery import Celery, bootsteps
from celery.signals import setup_logging

from app import logs
from app.core import broker, tally
from app.core.config import settings
from bots import waits
from bots.api import use_api
from bots.server.bot import ServerBot
from bots.server.bridge import Bridge

TASKS = ("bots.server.tasks",)

app: Celery = broker.celery()
app.set_default()


@cache
def bridge() -> Bridge:
    """Return this process's way to Discord."""
    use_api(settings().discord_api)
    waits.count(tally.waited)
    return Bridge(settings().discord_token.get_secret_value(), ServerBot)


class DiscordStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types.
    """Owns the loop and the client for as long as the worker runs."""

    requires: ClassVar = {"celery.worker.components:Timer"}

    def start(self, parent: Any) -> None:
        """Connect, without waiting for it."""
        bridge().start()

    def stop(self, parent: Any) -> None:
        """Say goodbye."""
        bridge().stop()

    terminate = stop


@setup_logging.connect
def _logs(**_: object) -> None:
    logs.configure("server-bot", settings().log_level, settings().log_format)
