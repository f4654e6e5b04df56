"""`/stop`: end a reply of one's own."""

from typing import Any

import discord
from discord import app_commands

from app.services import overview, turns
from app.services.accounts import Person
from app.wire.errors import NotFound
from bots.server.commands.people import Interaction, People
from bots.server.commands.suggestions import label, suggested


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="stop", description="End what is being written for you, or waits in the queue")
    @app_commands.describe(which="Which one, where there are several; all of them unless you choose")
    async def stop(interaction: Interaction, which: app_commands.Range[str, 1, 100] | None = None) -> None:
        await people.whisper(interaction, lambda person: _stop(person, which))

    @stop.autocomplete("which")
    async def running(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda person: _offered(person, typed))

    return [stop]


def _stop(person: Person, which: str | None) -> str:
    going = [one.turn for one in overview.mine(person.id)]
    wanted = [one for one in going if which in (None, one)]
    if not wanted:
        raise NotFound("Nothing is being written for you, and nothing of yours waits." if not which else None)
    for turn in wanted:
        turns.stop(turn, person.id)
    return "Stopped." if len(wanted) == 1 else f"Stopped all {len(wanted)}."


def _offered(person: Person, typed: str) -> list[app_commands.Choice[str]]:
    going = overview.mine(person.id)
    shown = label([one.session for one in going])
    found = [(f"{one.state.value}: {shown(one.session, one.title)}", one.turn) for one in going]
    return [
        app_commands.Choice(name=discord.utils.remove_markdown(name)[:100], value=turn)
        for name, turn in found
        if typed.casefold() in name.casefold()
    ]
