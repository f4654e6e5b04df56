"""`/drain`: take a node out of service after what it is doing, and back, for administrators."""

from typing import Any

from discord import app_commands

from app.services import nodes
from app.services.accounts import Person
from app.services.rights import Right
from app.wire.states import Door
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators
from bots.server.commands.suggestions import suggested


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="drain", description="Give a node nothing new; what it is writing goes on")
    @app_commands.describe(node="Which machine", undo="Give it turns again")
    @for_administrators
    async def drain(interaction: Interaction, node: app_commands.Range[str, 1, 31], undo: bool = False) -> None:
        await people.whisper(interaction, lambda person: _done(person, node, undo=undo), Right.DRAIN_NODES)

    @drain.autocomplete("node")
    async def known(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda _: _named(typed), Right.DRAIN_NODES)

    return [drain]


def _done(person: Person, node: str, *, undo: bool) -> str:
    if undo:
        nodes.undrain(node, person.name, Door.DISCORD)
        return f"{node} is given turns again."
    nodes.drain(node, person.name, Door.DISCORD)
    return f"{node} is given nothing new; what it is writing goes on. `/drain undo:True` takes it back."


def _named(typed: str) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=one.name, value=one.name) for one in nodes.listed() if typed.lower() in one.name]
