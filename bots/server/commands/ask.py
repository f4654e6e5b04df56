"""`/ask`: one prompt, answered where it was asked."""

from typing import Any

from discord import app_commands

from bots.server.commands.people import Interaction, People


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the command."""

    @app_commands.command(name="ask", description="Ask the model; in a thread of /chat it goes on with the conversation")
    @app_commands.describe(prompt="What you want to ask")
    async def ask(interaction: Interaction, prompt: app_commands.Range[str, 1, 6000]) -> None:
        await people.ask(interaction, prompt)

    return [ask]
