"""The buttons below a reply; what they are about stands in their id, so that they work after every restart."""

import re
from typing import Any, Final, Self

import discord

from bots.server.commands.face import AGAIN, OPEN, RETRY, STOP, page

TURN: Final = r"(?P<turn>[0-9a-f-]{36})"
Pressed = discord.Interaction[Any]


class Stop(discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"ml:stop:{TURN}"):
    """Ends a turn; only for whoever asked."""

    def __init__(self, turn: str) -> None:
        super().__init__(
            discord.ui.Button(label="Stop", style=discord.ButtonStyle.secondary, custom_id=f"ml:stop:{turn}")
        )
        self.turn: Final = turn

    @classmethod
    async def from_custom_id(cls, _: Pressed, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """Make it again from what Discord tells."""
        return cls(match["turn"])

    async def callback(self, interaction: Pressed) -> None:
        """Stop."""
        await interaction.client.people.stop(interaction, self.turn)


class Retry(discord.ui.DynamicItem[discord.ui.Button[Any]], template=f"ml:retry:{TURN}"):
    """Answers a prompt once more, in a message of its own."""

    def __init__(self, turn: str, label: str = "Retry") -> None:
        super().__init__(
            discord.ui.Button(label=label, style=discord.ButtonStyle.secondary, custom_id=f"ml:retry:{turn}")
        )
        self.turn: Final = turn

    @classmethod
    async def from_custom_id(cls, _: Pressed, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """Make it again from what Discord tells."""
        return cls(match["turn"])

    async def callback(self, interaction: Pressed) -> None:
        """Ask again."""
        await interaction.client.people.retry(interaction, self.turn)


DYNAMIC: Final = (Stop, Retry)


def view(names: tuple[str, ...], turn: str, session: str) -> discord.ui.View | None:
    """Return the buttons of a turn; None where there are none."""
    if not names:
        return None
    found = discord.ui.View(timeout=None)
    made: dict[str, discord.ui.Item[Any]] = {
        STOP: Stop(turn),
        RETRY: Retry(turn),
        AGAIN: Retry(turn, "Regenerate"),
        OPEN: discord.ui.Button(label="Continue in the browser", url=page(session)),
    }
    for name in names:
        found.add_item(made[name])
    return found
