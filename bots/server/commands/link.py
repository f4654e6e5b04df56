"""`/link` and `/unlink`: join one's account in Discord with the one on the page, and take them apart again."""

import asyncio
import re
from typing import Any, Final, Self
from uuid import UUID

import discord
from discord import app_commands

from app.core import redis
from app.services import links
from app.services.links import Offer
from app.wire.errors import MeatLizardError, Unavailable
from app.wire.states import Door
from bots.server.commands.errors import explained, refuse
from bots.server.commands.face import clip
from bots.server.commands.people import Interaction, People

QUESTION: Final = (
    "Link this Discord account to the account {name}? What you asked in Discord moves there, and whoever uses that account reads it. "
    "Press Link only if it is yours."
)
LINKED: Final = "Linked: you are {name} here. What you asked in Discord before is on the page now; /sessions has both."
NOT_LINKED: Final = "Nothing was linked. The code stays good until its ten minutes are over."


class Link(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"ml:link:(?P<account>[0-9a-f]{32}):(?P<mark>[0-9a-f]{32})"):
    """Says yes to an offer; good only for whoever it was made to."""

    def __init__(self, account: str, mark: str) -> None:
        name = f"ml:link:{UUID(account).hex}:{mark}"
        super().__init__(discord.ui.Button(label="Link", style=discord.ButtonStyle.primary, custom_id=name))
        self.account: Final = str(UUID(account))
        self.mark: Final = mark

    @classmethod
    async def from_custom_id(cls, _: Interaction, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """Make it again from what Discord tells."""
        return cls(match["account"], match["mark"])

    async def callback(self, interaction: Interaction) -> None:
        """Link."""
        await interaction.response.defer()
        user = interaction.user
        try:
            person = await asyncio.to_thread(links.confirm, self.account, self.mark, user.id, user.name)
        except (Unavailable, *redis.ERRORS) as error:
            await refuse(interaction, explained(error))  # The question stays: pressed again, it may well go.
        except MeatLizardError as error:
            await _settle(interaction, explained(error))
        else:
            await _settle(interaction, LINKED.format(name=person.name))


class Cancel(discord.ui.DynamicItem[discord.ui.Button[Any]], template="ml:link:no"):
    """Says no to an offer."""

    def __init__(self) -> None:
        super().__init__(discord.ui.Button(label="Cancel", style=discord.ButtonStyle.secondary, custom_id="ml:link:no"))

    @classmethod
    async def from_custom_id(cls, _: Interaction, item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        """Make it again from what Discord tells."""
        return cls()

    async def callback(self, interaction: Interaction) -> None:
        """Leave all as it is."""
        await interaction.response.edit_message(content=NOT_LINKED, view=None)


DYNAMIC: Final = (Link, Cancel)


async def _settle(interaction: Interaction, line: str) -> None:
    await interaction.edit_original_response(content=clip(line), view=None)


def _question(offer: Offer) -> tuple[str, discord.ui.View]:
    view = discord.ui.View(timeout=None)
    view.add_item(Link(offer.account, offer.mark))
    view.add_item(Cancel())
    return QUESTION.format(name=offer.name), view


def commands(people: People) -> list[app_commands.Command[Any, ..., Any]]:
    """Return the commands."""

    @app_commands.command(name="link", description="Link your account: history, limits and rights are then one, here and on the page")
    @app_commands.describe(code="The code that your own page shows. Never another's: they would have all you asked here")
    async def link(interaction: Interaction, code: app_commands.Range[str, 8, 32]) -> None:
        user = interaction.user.id
        await people.whisper_anyone(interaction, lambda: links.offer(code, user), _question)

    @app_commands.command(name="unlink", description="Unlink your account; your conversations stay with the one on the page")
    async def unlink(interaction: Interaction) -> None:
        user = interaction.user.id
        await people.whisper_anyone(
            interaction, lambda: f"Unlinked from {links.unlink(user, Door.DISCORD)}. Your conversations stay on the page."
        )

    return [link, unlink]
