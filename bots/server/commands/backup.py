"""`/backup`: make a backup now, for administrators."""

from typing import Any

from discord import app_commands

from app.services import backups
from app.services.accounts import Person
from app.services.rights import Right
from app.wire.states import Door
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators

LATEST = 5
"""Backups that are listed."""


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="backup", description="Make a backup now, or see the latest ones")
    @app_commands.describe(now="False only lists the latest ones")
    @for_administrators
    async def backup(interaction: Interaction, now: bool = True) -> None:
        await people.whisper(interaction, lambda person: _begun(person) if now else _listed(), Right.BACKUP)

    return [backup]


def _begun(person: Person) -> str:
    return f"Backup {backups.begin(person.name, Door.DISCORD)} is being made; `/backup now:False` says how it goes."


def _listed() -> str:
    lines = [f"- {one.id}: {one.state}" for one in backups.listed(LATEST)]
    return "\n".join(lines) or "There is no backup yet."
