"""`/chat`: a private thread in which each message is a turn."""

import asyncio
from typing import Any, Final

import discord
from discord import app_commands

from app.core.config import settings
from app.services import chats, limits, sessions
from app.services.accounts import Person
from app.wire.errors import BadInput
from app.wire.states import Door
from bots.server.commands.people import Interaction, People

WELCOME: Final = (
    "Hello {person}. {how} Only you and those you add see this thread, beside the administrators of this server.\n"
    "Discord keeps what is said here in plain text; what must not lie there is said on the page."
)
SEEN: Final = "Each message of yours here is a turn."
MENTIONED: Final = "Begin each message with {me}, or use `/ask`: I am shown nothing else."
QUIET_MINUTES: Final = 4320
"""A thread in which nothing is said for three days is put away; it comes back with the next message."""
NO_THREADS: Final = "/chat needs a text channel of this server, to make a thread in. Use it in one, or /ask here."


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="chat", description="Begin a conversation in a private thread of your own")
    @app_commands.describe(title="What the thread and the conversation are called")
    async def chat(interaction: Interaction, title: app_commands.Range[str, 1, 80] | None = None) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = await people.asker(interaction)
        channel = interaction.channel
        if not isinstance(channel, discord.TextChannel):
            raise BadInput(NO_THREADS)
        await asyncio.to_thread(limits.begin_session, person)
        thread = await channel.create_thread(
            name=title or f"Chat with {interaction.user.display_name}"[:100],
            type=discord.ChannelType.private_thread,
            invitable=False,
            auto_archive_duration=QUIET_MINUTES,
        )
        await asyncio.to_thread(_begin, person, thread.id, interaction.user.id, title)
        await thread.add_user(interaction.user)
        me = interaction.client.user.mention
        how = SEEN if settings().discord_content else MENTIONED.format(me=me)
        await thread.send(WELCOME.format(person=interaction.user.mention, how=how))
        await interaction.followup.send(f"Your chat is {thread.mention}.", ephemeral=True)

    return [chat]


def _begin(person: Person, thread: int, discord_id: int, title: str | None) -> None:
    session = sessions.create(person.id).id
    if title:
        sessions.rename(session, person.id, title, Door.DISCORD)
    chats.choose(thread, discord_id, session, person.id, thread=True)
