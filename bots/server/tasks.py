"""Tasks of the queue `relay`: each hands its errand to the bot, and is acknowledged when Discord has confirmed it."""

from typing import Any, Final

import aiohttp
import discord
from celery import shared_task

from app.core import redis
from app.wire import names
from app.wire.errors import Unavailable
from bots.server import errands
from bots.server.app import bridge
from bots.server.bridge import NotReady

AGAIN: Final[dict[str, Any]] = {
    "autoretry_for": (
        NotReady,
        OSError,
        aiohttp.ClientError,
        discord.DiscordServerError,
        discord.RateLimited,
        Unavailable,
        *redis.ERRORS,
    ),
    "retry_backoff": 1,
    "retry_backoff_max": 15,
    "retry_jitter": True,
    "max_retries": None,
}
"""Task options: back off from 1 to 15 seconds while Discord or a server is away; a prompt whose attempt is over by then
is dropped, and a mirror runs out."""


@shared_task(name=names.OPEN_SESSION, **AGAIN)
def open_session(session: str) -> None:
    """Open a session's channel."""
    bridge().call(lambda bot: errands.open_session(bot, session))


@shared_task(name=names.CLOSE_SESSION, **AGAIN)
def close_session(session: str) -> None:
    """Remove a session's channel."""
    bridge().call(lambda bot: errands.close_session(bot, session))


@shared_task(name=names.POST_PROMPT, **AGAIN)
def post_prompt(turn: str, attempt: int, node: str, session: str, envelope: str) -> None:
    """Post a sealed job to its node."""
    bridge().call(lambda bot: errands.post_prompt(bot, turn, attempt, node, session, envelope))


@shared_task(name=names.POST_CONTROL, **AGAIN)
def post_control(
    kind: str, node: str, session: str | None = None, turn: str = errands.NOTHING, attempt: int = 0, at: int = 0
) -> None:
    """Tell a node something."""
    bridge().call(lambda bot: errands.post_control(bot, kind, node, session, turn, attempt, at))


@shared_task(name=names.POST_MIRROR, **AGAIN)
def post_mirror(turn: str) -> None:
    """Post the sealed record of a queue-lane turn."""
    bridge().call(lambda bot: errands.post_mirror(bot, turn))


@shared_task(name=names.SHOW_CHANNELS, **AGAIN)
def show_channels(user: str, owner: int, sees: bool) -> None:
    """Let a sessions' owner see their channels, or no longer."""
    bridge().call(lambda bot: errands.show_channels(bot, user, owner, sees))
