"""`/transcript`: a conversation as a file, as far as it was had in Discord."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import discord
from discord import app_commands

from app.services import chats, overview
from app.services.accounts import Person
from app.wire.errors import NotFound
from app.wire.states import Door
from bots.server.commands.face import page
from bots.server.commands.people import Interaction, People
from bots.server.commands.suggestions import MOST, label, suggested

ELSEWHERE = "(said on the page, and not for Discord to carry)"


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="transcript", description="Get a conversation as a file that only you see")
    @app_commands.describe(conversation="Which one; the one that goes on here unless you choose")
    async def transcript(interaction: Interaction, conversation: app_commands.Range[str, 1, 100] | None = None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = await people.asker(interaction)
        channel, user = interaction.channel_id or 0, interaction.user.id
        session, text = await asyncio.to_thread(_written, person, channel, user, conversation)
        await interaction.followup.send(
            f"What was said on the page is not in it: [all of it is there.](<{page(session)}>)",
            file=discord.File(io.BytesIO(text.encode()), f"conversation-{session[:8]}.md"),
            ephemeral=True,
        )

    @transcript.autocomplete("conversation")
    async def titles(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda person: _offered(person, typed))

    return [transcript]


def _written(person: Person, channel: int, user: int, conversation: str | None) -> tuple[str, str]:
    session = conversation or chats.chosen(channel, user, person.id) or chats.last(person.id)
    if session is None:
        raise NotFound("You have no conversation yet. Begin with /ask.")
    return session, "\n".join(_lines(session, person.id))


def _lines(session: str, user: str) -> Iterator[str]:
    for at, role, text in overview.spoken(session, user, Door.DISCORD):
        yield f"## {'You' if role == 'user' else 'Reply'}, {at[:16].replace('T', ' ')} UTC\n"
        yield f"{text if text is not None else ELSEWHERE}\n"


def _offered(person: Person, typed: str) -> list[app_commands.Choice[str]]:
    found = chats.titled(person.id, typed, MOST)
    shown = label([session for session, _ in found])
    return [app_commands.Choice(name=shown(session, title), value=session) for session, title in found]
