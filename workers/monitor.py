"""Starting Flower, with no more than the names of the tasks in it: neither database nor services."""

import os
from typing import Final

import click
from celery.bin.base import CLIContext
from flower import command
from flower.views import monitor
from tornado.web import authenticated

from app.core.config import home, settings
from app.core.presence import Presence
from workers import hearing
from workers.app import app

FLOWER_PREFIX: Final = "flower"
"""Where the page passes Flower on (app.web.flower)."""
FLOWER_SAVES_MS: Final = 15_000
"""What a killed Flower forgets, in milliseconds."""
FLOWER_TASKS: Final = 10_000
"""Tasks it remembers: some 20 MB."""


def run() -> None:
    """Show the tasks in the browser until SIGTERM."""
    # By the environment: an argument would stand in the process list for everyone to read. The page at /flower adds it to
    # what it passes on; nobody has to type it.
    os.environ["FLOWER_BASIC_AUTH"] = f"{settings().flower_user}:{settings().flower_password.get_secret_value()}"
    # Open to everybody by its maker's choice; it names the nodes, and tells what they do.
    monitor.Metrics.get = authenticated(monitor.Metrics.get)
    hearing.use()
    history = home() / "data" / "flower"
    history.mkdir(mode=0o700, parents=True, exist_ok=True)
    Presence("flower").start()
    # Its own command, below an empty one in the place of Celery's, which would load every other command as well.
    celery = click.Context(click.Command("celery"), obj=CLIContext(app=app, no_color=True, workdir=None, quiet=True))
    command.flower.main(
        [
            f"--address={settings().host}",
            f"--port={settings().flower_port}",
            f"--url-prefix={FLOWER_PREFIX}",
            # To look, not to touch: what a person does to the platform goes through the platform, and into its trail.
            "--read-only=True",
            "--purge-offline-workers=60",
            f"--db={history / 'tasks'}",
            "--persistent=True",
            f"--state-save-interval={FLOWER_SAVES_MS}",
            f"--max-tasks={FLOWER_TASKS}",
        ],
        prog_name="flower",
        parent=celery,
    )
