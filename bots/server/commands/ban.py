"""`/ban` and `/unban`: shut an account and open it again, for administrators."""

from typing import Any

import discord
from discord import app_commands

from app.services import accounts, links
from app.services.accounts import Person
from app.services.rights import Right
from app.wire.errors import BadInput, NotFound
from app.wire.states import Door
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators
from bots.server.commands.suggestions import LENGTH, suggested

NAMELESS = "Name somebody: a member of this server, or an account."


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the commands."""

    @app_commands.command(name="ban", description="Shut an account: here, on the page and for programs")
    @app_commands.describe(member="Somebody in this server", account="Or an account by its name")
    @for_administrators
    async def ban(
        interaction: Interaction, member: discord.User | None = None, account: app_commands.Range[str, 1, 64] | None = None
    ) -> None:
        await people.whisper(interaction, lambda person: _shut(person, member, account), Right.MANAGE_PEOPLE)

    @app_commands.command(name="unban", description="Open an account again that was shut")
    @app_commands.describe(member="Somebody in this server", account="Or an account by its name")
    @for_administrators
    async def unban(
        interaction: Interaction, member: discord.User | None = None, account: app_commands.Range[str, 1, 64] | None = None
    ) -> None:
        await people.whisper(interaction, lambda person: _open(person, member, account), Right.MANAGE_PEOPLE)

    both: list[app_commands.Command[Any, ..., Any]] = [ban, unban]
    for command in both:

        @command.autocomplete("account")
        async def names(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
            return await suggested(people, interaction, lambda _: _named(typed), Right.MANAGE_PEOPLE)

    return both


def _shut(person: Person, member: discord.User | None, account: str | None) -> str:
    name = _meant(member, account)
    if name == person.name:
        raise BadInput("That is your own account.")
    accounts.disable(name, person.name, Door.DISCORD, person)
    return f"{name} is shut: their logins and tokens ended, and the bot does not answer them. /unban opens it again."


def _open(person: Person, member: discord.User | None, account: str | None) -> str:
    name = _meant(member, account)
    accounts.enable(name, person.name, Door.DISCORD, person)
    return f"{name} may come in again."


def _meant(member: discord.User | None, account: str | None) -> str:
    if (member is None) == (account is None):
        raise BadInput(NAMELESS)
    if member is not None:
        found = links.user_of(member.id)
        if found is None:
            raise NotFound("They have never used the bot: there is no account to shut.")
        return found.name
    named = next((one for one in accounts.users() if one.name == (account or "").strip().lower()), None)
    if named is None:
        raise NotFound("There is no such account. Choose one of what is suggested.")
    return named.name


def _named(typed: str) -> list[app_commands.Choice[str]]:
    names = (one.name for one in accounts.users())
    return [app_commands.Choice(name=name[:LENGTH], value=name) for name in names if typed.lower() in name]
