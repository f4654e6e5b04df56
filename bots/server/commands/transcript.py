"""`/transcript`: a conversation as a file, as far as it was had in Discord."""

import asyncio
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import discord
from discord import app_commands

from app.services import chats, overview
from app.services.accounts import Person
from app.wire.errors import NotFound
from app.wire.states import Door
from bots.server.commands.face import page
from bots.server.commands.people import Interaction, People
from bots.server.commands.suggestions import MOST, label, suggested

ELSEWHERE: Final = "(said on the page, and not for Discord to carry)"
WRITING: Final = asyncio.Semaphore(2)
"""Files made at once: each takes at most the twice 10 MiB that Discord lets a file have, however long it would be."""


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="transcript", description="Get a conversation as a file that only you see")
    @app_commands.describe(conversation="Which one; the one that goes on here unless you choose")
    async def transcript(interaction: Interaction, conversation: app_commands.Range[str, 1, 100] | None = None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = await people.asker(interaction)
        channel, user = interaction.channel_id or 0, interaction.user.id
        session = await asyncio.to_thread(_meant, person, channel, user, conversation)
        async with WRITING:
            made = await asyncio.to_thread(written, session, person.id, interaction.filesize_limit)
            if made is None:
                await interaction.followup.send(
                    f"It is longer than a file in Discord may be. [All of it is on its page.](<{page(session)}>)",
                    ephemeral=True,
                )
                return
            if made.whole:
                said = f"All of it is in there, as on [its page.](<{page(session)}>)"
            else:
                said = f"What was said on the page is not in it: [all of it is there.](<{page(session)}>)"
            await interaction.followup.send(said, file=made.file, ephemeral=True)

    @transcript.autocomplete("conversation")
    async def titles(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda person: _offered(person, typed))

    return [transcript]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation as a file for Discord."""

    file: discord.File
    whole: bool
    """Whether everything said is in it, for nothing of it came by another door."""


def written(session: str, user: str, most: int) -> Transcript | None:
    """Return a conversation as a file of at most so many bytes, packed where it must be; None where that is not enough.

    It is never held in memory as a whole where it is longer, and never lies on the disk.
    """
    name = f"conversation-{session[:8]}.md"
    plain, whole = io.BytesIO(), True
    for line, told in _lines(session, user):
        plain.write(line)
        whole = whole and told
        if plain.tell() > most:
            return _packed(session, user, name, most)
    plain.seek(0)
    return Transcript(discord.File(plain, name), whole)


def _packed(session: str, user: str, name: str, most: int) -> Transcript | None:
    packed, whole = io.BytesIO(), True
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        for line, told in _lines(session, user):
            file.write(line)
            whole = whole and told
            if packed.tell() > most:
                return None
    if packed.tell() > most:
        return None
    packed.seek(0)
    return Transcript(discord.File(packed, name.replace(".md", ".zip")), whole)


def _meant(person: Person, channel: int, user: int, conversation: str | None) -> str:
    session = conversation or chats.chosen(channel, user, person.id) or chats.last(person.id)
    if session is None:
        raise NotFound("You have no conversation yet. Begin with /ask.")
    return session


def _lines(session: str, user: str) -> Iterator[tuple[bytes, bool]]:
    for at, role, text in overview.spoken(session, user, Door.DISCORD):
        head = f"## {'You' if role == 'user' else 'Reply'}, {at[:16].replace('T', ' ')} UTC"
        told = text is not None
        yield f"{head}\n\n{text if told else ELSEWHERE}\n\n".encode(), told


def _offered(person: Person, typed: str) -> list[app_commands.Choice[str]]:
    found = chats.titled(person.id, typed, MOST)
    shown = label([session for session, _ in found])
    return [app_commands.Choice(name=shown(session, title), value=session) for session, title in found]
