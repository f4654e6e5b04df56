"""`/audit`: who did what lately, for administrators."""

from typing import Any

import discord
from discord import app_commands
from discord.utils import escape_markdown

from app.services import trail
from app.services.rights import Right
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="audit", description="See who did what lately")
    @app_commands.describe(most="How many records, the latest ones; 10 unless you say")
    @for_administrators
    async def audit(interaction: Interaction, most: app_commands.Range[int, 1, 25] = 10) -> None:
        await people.whisper(interaction, lambda _: _told(most), Right.SEE_AUDIT)

    return [audit]


def _told(most: int) -> str:
    lines = [
        f"- {discord.utils.format_dt(one.at, 'R')} **{escape_markdown(one.actor[:40])}** {one.action}"
        f" {escape_markdown(one.subject[:60])} ({one.door})"
        for one in trail.listed(most=most)
    ]
    while sum(len(line) + 1 for line in lines) > 1900:
        lines.pop()
    return "\n".join(lines) or "Nothing yet."
