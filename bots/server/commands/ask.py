"""`/ask`: one prompt, answered where it was asked."""

from typing import Any

from discord import app_commands

from app.services import nodes
from bots.server.commands.people import Interaction, People
from bots.server.commands.suggestions import LENGTH, suggested


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="ask", description="Ask the model; in a thread of /chat it goes on with the conversation")
    @app_commands.describe(prompt="What you want to ask", model="Which model shall answer; any unless you choose")
    async def ask(
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 6000],
        model: app_commands.Range[str, 1, LENGTH] | None = None,
    ) -> None:
        await people.ask(interaction, prompt, model)

    @ask.autocomplete("model")
    async def models(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await suggested(people, interaction, lambda _: _named(typed))

    return [ask]


def _named(typed: str) -> list[app_commands.Choice[str]]:
    # A longer name cannot be suggested: Discord would refuse all that stand beside it.
    found = [one for one in nodes.models() if typed.lower() in one.lower() and len(one) <= LENGTH]
    return [app_commands.Choice(name=one, value=one) for one in found]
