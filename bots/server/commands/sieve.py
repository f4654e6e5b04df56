"""Which commands Discord shows to whom; whether they may is asked again when they are used."""

from typing import Any, TypeVar

import discord
from discord import app_commands

T = TypeVar("T")


def for_administrators(command: T) -> T:
    """Let Discord show a command to those who manage the server, until its administrators say otherwise in its settings."""
    decorated: Any = app_commands.default_permissions(discord.Permissions(manage_guild=True))
    found: T = decorated(command)
    return found
