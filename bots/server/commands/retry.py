"""`/retry`: answer one's last prompt once more."""

from typing import Any

from discord import app_commands

from bots.server.commands.people import Interaction, People


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="retry", description="Answer your last prompt once more")
    async def retry(interaction: Interaction) -> None:
        await people.retry(interaction)

    return [retry]
