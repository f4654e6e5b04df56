"""`/status`: whether anybody can answer now, and who one is here."""

from typing import Any

from discord import app_commands

from app.services import links, overview
from app.services.accounts import Person
from bots.server.commands.people import Interaction, People


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="status", description="See whether the model can answer now, and which account is yours")
    async def status(interaction: Interaction) -> None:
        await people.whisper(interaction, _told)

    return [status]


def _told(person: Person) -> str:
    now = overview.platform()
    free = max(0, now.slots - now.busy)
    nodes = f"{now.ready} of {now.nodes} nodes ready, {free} of {now.slots} slots free, {now.waiting} waiting."
    linked = links.discord_of(person.id) is not None
    account = f"You are linked to the account {person.name}" if linked else "You have an account of your own here; /link joins it with one on the page"
    return f"{nodes if now.ready else f'No node is ready; prompts wait until one is. {nodes}'}\n{account}. Your role: {person.role}."
