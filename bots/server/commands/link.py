"""`/link` and `/unlink`: join one's account in Discord with the one on the page, and take them apart again."""

from typing import Any

from discord import app_commands

from app.services import links
from app.wire.states import Door
from bots.server.commands.people import Interaction, People


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the commands."""

    @app_commands.command(name="link", description="Link your account: history, limits and rights are then one, here and on the page")
    @app_commands.describe(code="The code that your own page shows. Never another's: they would have all you asked here")
    async def link(interaction: Interaction, code: app_commands.Range[str, 8, 32]) -> None:
        user = interaction.user

        def claim() -> str:
            person = links.claim(code, user.id, user.name)
            return f"Linked: you are {person.name} here. What you asked in Discord before is on the page now; /sessions has both."

        await people.whisper_anyone(interaction, claim)

    @app_commands.command(name="unlink", description="Unlink your account; your conversations stay with the one on the page")
    async def unlink(interaction: Interaction) -> None:
        user = interaction.user.id
        await people.whisper_anyone(
            interaction, lambda: f"Unlinked from {links.unlink(user, Door.DISCORD)}. Your conversations stay on the page."
        )

    return [link, unlink]
