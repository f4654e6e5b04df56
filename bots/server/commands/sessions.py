"""`/sessions`: one's own conversations, one of which goes on here."""

from typing import Any, Final

from discord import app_commands

from app.services import chats
from app.services import sessions as kept
from app.services.accounts import Person
from bots.server.commands.face import page
from bots.server.commands.people import Interaction, People
from bots.server.commands.suggestions import MOST, label, suggested

NEW: Final = "new"


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="sessions", description="Choose the conversation that /ask goes on with in this channel")
    @app_commands.describe(conversation="Type words of its title; those from the browser are shown by their day")
    async def sessions(interaction: Interaction, conversation: app_commands.Range[str, 1, 100]) -> None:
        channel, user = interaction.channel_id or 0, interaction.user.id
        await people.whisper(interaction, lambda person: _choose(person, channel, user, conversation))

    @sessions.autocomplete("conversation")
    async def titles(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda person: _offered(person, typed))

    return [sessions]


def _choose(person: Person, channel: int, user: int, conversation: str) -> str:
    if conversation == NEW:
        if chats.in_thread(channel, user):
            chats.choose(channel, user, kept.create(person.id).id, person.id)
            return "This thread begins anew with what you say next."
        chats.leave(channel, user)
        return "From now on each /ask begins a conversation of its own here."
    chats.choose(channel, user, conversation, person.id)
    return f"From now on /ask goes on with that conversation here. [All of it is on its page.](<{page(conversation)}>)"


def _offered(person: Person, typed: str) -> list[app_commands.Choice[str]]:
    found = chats.titled(person.id, typed, MOST - 1)
    shown = label([session for session, _ in found])
    choices = [app_commands.Choice(name=shown(session, title), value=session) for session, title in found]
    return [app_commands.Choice(name="A new conversation each time", value=NEW), *choices]
