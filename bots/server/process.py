"""Starting the Server-Bot's worker."""

from typing import Final

from celery.utils.nodenames import default_nodename, host_format
from celery.worker.components import Pool

from app import parting
from app.core import panel
from app.core.config import settings
from app.core.presence import Presence
from app.wire import names
from app.wire.errors import BadInput
from bots.server.app import TASKS, DiscordStep, app

THREADS: Final = 12
"""Tasks at once: each waits for Discord nearly all its time, and one channel's rate limit must not hold up the others."""


def run() -> None:
    """Consume `relay` until SIGTERM."""
    if not settings().discord:
        raise BadInput(
            "There is no Discord to connect to: set MEATLIZARD_DISCORD_TOKEN and MEATLIZARD_DISCORD_GUILD, then start it again."
        )
    app.conf.include = TASKS
    # It starts before the pool and stops after it, so that posts under way when the worker is asked to end are still
    # confirmed. Requiring less than the pool does would not do: steps that do not require each other come in the order
    # of a set, another one in each process.
    app.steps["worker"].add(DiscordStep)
    Pool.requires = (*Pool.requires, DiscordStep)
    panel.narrow()
    worker = app.Worker(
        hostname=host_format(default_nodename("server-bot@%h")),
        pool="threads",
        concurrency=THREADS,
        queues=[names.RELAY],
        without_gossip=True,
        without_mingle=True,
        loglevel=settings().log_level,
        quiet=True,
    )
    Presence("server-bot").start()
    parting.run(worker)
