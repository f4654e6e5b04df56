"""`/metrics`: the platform's figures as a picture, for administrators."""

import threading
from typing import Any, Final

from discord import app_commands

from app.services import metrics as figures
from app.services import plots
from app.services.rights import Right
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators

MOST_HOURS: Final = 720
"""Thirty days: the longest that the page shows, too."""
ALL: Final = "all"
KINDS: Final = [
    app_commands.Choice(name="All of them", value=ALL),
    *(app_commands.Choice(name=title, value=kind) for kind, (title, _) in plots.TITLES.items()),
]

_DRAWING: Final = threading.Lock()
"""Matplotlib is not made for several threads, and one picture at a time is enough for a worker that has else to do."""


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="metrics", description="See how the platform does, as a picture")
    @app_commands.describe(kind="What to see; all of it unless you choose", hours="How far back; 24 unless you say")
    @app_commands.choices(kind=KINDS)
    @for_administrators
    async def metrics(
        interaction: Interaction, kind: str = ALL, hours: app_commands.Range[int, 1, MOST_HOURS] = 24
    ) -> None:
        await people.hand(interaction, lambda _: _drawn(kind, hours), Right.SEE_METRICS)

    return [metrics]


def _drawn(kind: str, hours: int) -> tuple[str, str, bytes]:
    with _DRAWING:
        picture = figures.picture(kind, hours)
    return "", f"metrics-{kind}-{hours}h.png", picture
