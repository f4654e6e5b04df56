"""`/nodes`: the machines that answer, for administrators."""

from dataclasses import asdict
from typing import Any

from discord import app_commands
from discord.utils import escape_markdown

from app.services import condition
from app.services import nodes as known
from app.services.accounts import Person
from app.services.rights import Right
from bots.server.commands.people import Interaction, People
from bots.server.commands.sieve import for_administrators


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="nodes", description="See the machines that answer")
    @for_administrators
    async def nodes(interaction: Interaction) -> None:
        await people.whisper(interaction, _told, Right.DRAIN_NODES)

    return [nodes]


def _told(_: Person) -> str:
    return "\n".join(map(_line, known.listed())) or "No node is known yet: `meatlizard node invite` makes one."


def _line(node: known.Shown) -> str:
    told = condition.words(asdict(node))
    machine = f"; {told}" if told else ""
    trouble = f": {escape_markdown(node.error[:200])}" if node.error else ""
    model = escape_markdown(node.model or "no model")
    return f"- **{node.name}**: {node.state}, {node.busy} of {node.slots} busy, lane {node.lane}, {model}{machine}{trouble}"
