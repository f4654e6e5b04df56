"""`/queue`: where one's own prompts wait, and how long the queue is."""

from typing import Any

from discord import app_commands

from app.services import overview
from app.services.accounts import Person
from app.wire.states import TurnState
from bots.server.commands.face import duration, waiting
from bots.server.commands.people import Interaction, People


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="queue", description="See where your prompts stand in the queue")
    async def queue(interaction: Interaction) -> None:
        await people.whisper(interaction, _told)

    return [queue]


def _told(person: Person) -> str:
    lines = []
    for one in overview.mine(person.id):
        position, eta = one.place or (None, None)
        lines.append(f"- {waiting(position, eta)}" if one.state is TurnState.QUEUED else "- Being written.")
    all_ = overview.platform()
    typical = f" A reply takes about {duration(all_.typical)}." if all_.typical else ""
    return "\n".join([*(lines or ["Nothing of yours waits."]), f"In all, {all_.waiting} wait.{typical}"])
