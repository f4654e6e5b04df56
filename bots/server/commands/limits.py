"""`/limits`: what one has left of each limit; `/limits-set`: how much others may use, for administrators."""

from typing import Any, Final

import discord
from discord import app_commands

from app.services import accounts
from app.services import limits as counted
from app.services.accounts import Person
from app.services.limits import Kind
from app.services.rights import Right
from app.wire.states import Door
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators
from bots.server.commands.suggestions import LENGTH, suggested

CALLED: Final = {
    Kind.PROMPTS: "prompts a minute",
    Kind.TOKENS: "tokens a day",
    Kind.TURNS: "turns at once",
    Kind.SOCKETS: "open pages",
    Kind.TRIES: "tries to sign in",
}
KINDS: Final = [app_commands.Choice(name=words, value=kind.value) for kind, words in CALLED.items()]


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the commands."""

    @app_commands.command(name="limits", description="See how much you may still use")
    async def limits(interaction: Interaction) -> None:
        await people.whisper(interaction, _told, Right.OWN_ACCOUNT)

    @app_commands.command(name="limits-set", description="Change how much may be used; it holds within two seconds")
    @app_commands.describe(
        whose="A role, an account's name, token:ID, address or name", kind="Which limit", value="A number, none or default"
    )
    @app_commands.choices(kind=KINDS)
    @for_administrators
    async def change(
        interaction: Interaction,
        whose: app_commands.Range[str, 1, LENGTH],
        kind: str,
        value: app_commands.Range[str, 1, 20],
    ) -> None:
        await people.whisper(interaction, lambda person: _changed(person, whose, kind, value), Right.SET_LIMITS)

    @change.autocomplete("whose")
    async def scopes(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda _: _scopes(typed), Right.SET_LIMITS)

    @change.autocomplete("value")
    async def values(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda _: _values(typed), Right.SET_LIMITS)

    return [limits, change]


def _told(person: Person) -> str:
    return "\n".join(map(_line, counted.left(person.id, person.role)))


def _line(one: counted.Left) -> str:
    called = CALLED[Kind(one.kind)]
    if one.of is None:
        return f"- {called}: without limit"
    more = f", more {discord.utils.format_dt(one.resets_at, 'R')}" if one.resets_at else ""
    return f"- {called}: {one.left:,} of {one.of:,} left{more}"


def _changed(person: Person, whose: str, kind: str, value: str) -> str:
    wanted = counted.read(value)
    counted.set_limit(whose, kind, wanted, person.name, Door.DISCORD)
    shown = "without limit" if wanted is None else "what it is by itself" if wanted == "default" else f"{wanted:,}"
    return f"{CALLED[Kind(kind)].capitalize()} of {discord.utils.escape_markdown(whose)}: {shown}, within two seconds."


def _scopes(typed: str) -> list[app_commands.Choice[str]]:
    # An account may be called like a role.
    found = {scope: f"{called} (role)" if scope.startswith("role:") else called for scope, called, _, _ in counted.table()}
    found |= {f"user:{one.name}": one.name for one in accounts.users() if f"user:{one.id}" not in found}
    word = typed.lower()
    return [
        app_commands.Choice(name=called[:LENGTH], value=scope)
        for scope, called in found.items()
        if (word in called.lower() or word in scope) and len(scope) <= LENGTH
    ]


def _values(typed: str) -> list[app_commands.Choice[str]]:
    words = ["none", "default"] if not typed.strip().isdigit() else [typed.strip()]
    return [app_commands.Choice(name=word, value=word) for word in words]
