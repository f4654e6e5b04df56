"""What is suggested while somebody types: only what is theirs, and of conversations from the browser not a word."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from discord import app_commands

from app.core import redis
from app.services import chats
from app.services.accounts import Person
from app.services.rights import Right
from app.wire.errors import MeatLizardError
from bots.server.commands.people import Interaction, People

log = structlog.get_logger(__name__)

MOST: Final = 25
"""Suggestions that Discord takes (Discord's documentation, Interaction Callback, Autocomplete)."""
LENGTH: Final = 100
"""Characters of one."""

Choices = list[app_commands.Choice[str]]


async def suggested(
    people: People, interaction: Interaction, make: Callable[[Person], Choices], right: Right = Right.CHAT
) -> Choices:
    """Return suggestions for whoever types; none where anything is in the way, since nothing can be said here."""
    try:
        person = await people.asker(interaction, right)
        return (await asyncio.to_thread(make, person))[:MOST]
    except (MeatLizardError, *redis.ERRORS) as error:
        log.info("suggestions.none", error=str(error))
        return []


def label(sessions: list[str]) -> Callable[[str, str], str]:
    """Return what shows a session by its id and title; the words of those from the browser are not for Discord to carry."""
    ours: Any = chats.titled_in_discord(sessions)

    def shown(session: str, title: str) -> str:
        return (title or "New conversation")[:LENGTH] if session in ours else f"From the browser, {chats.begun(session)}"

    return shown
