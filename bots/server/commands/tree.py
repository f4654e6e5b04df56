"""The slash commands as Discord knows them: told to it only when they changed, and answering for their errors."""

import asyncio
import hashlib
from typing import Any, Final

import discord
import orjson
import structlog
from discord import app_commands

from app.services import trees
from bots.server.commands.errors import Interaction, explained, late, refuse

log = structlog.get_logger(__name__)


class Tree(app_commands.CommandTree[Any]):
    """All commands, offered in our guild."""

    async def tell(self, guild: int) -> None:
        """Let Discord know the commands, unless it knows these already."""
        home: Final = discord.Object(guild)
        payload = [command.to_dict(self) for command in self.get_commands(guild=home)]
        payload.sort(key=lambda one: str(one["name"]))
        digest = hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).digest()
        application = self.client.application_id or 0
        if await asyncio.to_thread(trees.told, guild, application) == digest:
            return
        await self.sync(guild=home)
        await asyncio.to_thread(trees.tell, guild, application, digest)
        log.info("commands.told", guild=guild, commands=len(payload))

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        """Tell whoever used the command."""
        if late(error):
            log.info("interaction.late", interaction=interaction.id)
            return
        await refuse(interaction, explained(error))
