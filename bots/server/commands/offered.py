"""All commands, put together."""

from typing import Any, Final

import discord

from app.core.config import settings
from bots.server.commands import (
    ask,
    audit,
    backup,
    ban,
    buttons,
    chat,
    drain,
    limits,
    link,
    metrics,
    nodes,
    queue,
    retry,
    sessions,
    status,
    stop,
    transcript,
)
from bots.server.commands.people import People
from bots.server.commands.tree import Tree

NOUNS: Final = (
    *(ask, chat, stop, retry, sessions, transcript, link, queue, status, limits),
    *(nodes, drain, ban, backup, metrics, audit),
)


def offer(client: discord.Client, people: People) -> Tree:
    """Return the tree of commands, and let the buttons' presses be heard."""
    tree = Tree(client)
    home: Any = discord.Object(settings().discord_guild or 0)
    for noun in NOUNS:
        for command in noun.commands(people):
            command.guild_only = True
            tree.add_command(command, guild=home)
    client.add_dynamic_items(*buttons.DYNAMIC, *link.DYNAMIC)
    return tree
