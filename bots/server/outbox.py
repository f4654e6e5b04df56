"""Posting frames: in order within a channel, once however often it is tried, one attachment where it is long."""

import asyncio
import base64
import hashlib
import io
from typing import Any, Final
from weakref import WeakValueDictionary

import aiohttp
import discord
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from app.wire.frames import ATTACHMENT, content

NONCE_LENGTH: Final = 24
"""Characters; Discord takes 25 at most (Discord's documentation, Create Message)."""
TRIES: Final = 4
"""discord.py tries again what Discord answers with an error; what the network breaks is tried again here."""


def nonce(*parts: object) -> str:
    """Return what makes the same post the same to Discord, whoever makes it and however often."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return base64.b32encode(digest).decode()[:NONCE_LENGTH]


class Outbox:
    """Sends messages; whoever calls first for a channel is first there."""

    def __init__(self) -> None:
        self._locks: Final[WeakValueDictionary[int, asyncio.Lock]] = WeakValueDictionary()

    async def post(self, channel: discord.abc.Messageable, place: int, peer: int, envelope: str, mark: str) -> discord.Message:
        """Post an envelope for `peer`; returns when Discord has confirmed it."""
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = asyncio.Lock()
        async with lock:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((OSError, aiohttp.ClientError)),
                stop=stop_after_attempt(TRIES),
                wait=wait_random_exponential(multiplier=0.2, max=3),
                reraise=True,
            ):
                with attempt:
                    return await _send(channel, peer, envelope, mark)
        raise AssertionError  # tenacity raises or returns.


async def _send(channel: discord.abc.Messageable, peer: int, envelope: str, mark: str) -> discord.Message:
    # The mention of the peer, and of nobody else, is what lets it read the message without a privileged intent.
    more: dict[str, Any] = {
        "nonce": mark,
        "allowed_mentions": discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(peer)]),
    }
    text = content(peer, envelope)
    if text is not None:
        return await channel.send(text, **more)
    return await channel.send(f"<@{peer}>", file=discord.File(io.BytesIO(envelope.encode()), ATTACHMENT), **more)
