"""What a person in Discord is told when something does not work: one plain line, seen by nobody else."""

import math
from typing import Any, Final

import discord
import structlog
from discord import app_commands

from app.core import redis
from app.wire.errors import MeatLizardError, Unavailable
from bots.server.commands.face import clip

log = structlog.get_logger(__name__)

Interaction = discord.Interaction[Any]
LATE: Final = frozenset({10062, 40060})
"""Discord's codes for an interaction that waited over 3 seconds, and for one that was answered: by another Server-Bot."""
MAY_NOT: Final = (
    "The Server-Bot lacks a permission here. Ask an administrator of this server to give its role {missing} in this channel."
)

BUSY: Final = "Discord lets the Server-Bot do that again in {seconds} s. Try again then."


def explained(error: BaseException) -> str:
    """Return the line for an error; what nobody foresaw is logged."""
    cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    match cause:
        case MeatLizardError():
            return str(cause)
        case app_commands.NoPrivateMessage():
            return "This works in a server only, not in direct messages."
        case app_commands.MissingPermissions():
            return "You may not do this. Ask an administrator."
        case app_commands.TransformerError():
            return f"{str(cause.value)[:100]!r} is not what this option takes. Choose one of what is suggested."
        case app_commands.CommandNotFound() | app_commands.CommandSignatureMismatch():
            return "This command has changed. Wait a minute, press Ctrl-R in Discord, and use it again."
        case discord.Forbidden():
            return MAY_NOT.format(missing="View Channel, Send Messages, Send Messages in Threads and Create Private Threads")
        case discord.RateLimited():
            return BUSY.format(seconds=math.ceil(cause.retry_after))
        case _ if isinstance(cause, redis.ERRORS):
            return str(Unavailable())
    log.error("command.failed", exc_info=cause)
    return str(MeatLizardError())


def late(error: BaseException) -> bool:
    """Say whether there is nobody left to tell: the interaction is over, or another Server-Bot has answered it."""
    cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    return isinstance(cause, discord.HTTPException) and cause.code in LATE


async def refuse(interaction: Interaction, line: str, prompt: str = "") -> None:
    """Tell the person, whether or not the interaction was answered before."""
    text = clip(f"{line}\n\nYou had written:\n{prompt}" if prompt else line)
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=True, suppress_embeds=True)
    else:
        await interaction.response.send_message(text, ephemeral=True, suppress_embeds=True)
