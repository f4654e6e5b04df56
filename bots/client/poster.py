"""Posting to Discord until it has confirmed: the same message, under the same nonce, however often that takes."""

import asyncio
import base64
import hashlib
import io
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp
import discord
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from app.wire.envelope import NodeKeys
from app.wire.frames import ATTACHMENT, Frame, content

log = structlog.get_logger(__name__)

RETRY_MOST_SECONDS: Final = 30.0
"""Longest pause between tries while Discord is away."""
POST_SECONDS: Final = 90.0
"""One try; discord.py waits out 429s and 5xx within it, and a half-open connection would hold it for ever."""
UNKNOWN_MESSAGE: Final = 10008
"""What a post is answered with whose nonce is that of a message which was deleted meanwhile."""


class ChannelClosed(Exception):
    """The channel is gone, or may not be written in."""


class Post(Protocol):
    """Posts a frame in a channel and returns its message's id; raises ChannelClosed where that cannot be."""

    async def __call__(self, channel: int, frame: Frame) -> int:
        """Return when Discord has confirmed."""


class Poster:
    """Seals frames and posts them by whatever client is connected just now."""

    def __init__(
        self, guild: int, server_bot: int, keys: NodeKeys, client: Callable[[], discord.Client | None]
    ) -> None:
        self._guild: Final = guild
        self._peer: Final = server_bot
        self._keys: Final = keys
        self._client: Final = client
        # Only the peer is ever pinged, whatever a reply says.
        self._mentions: Final = discord.AllowedMentions(
            everyone=False, roles=False, users=[discord.Object(server_bot)], replied_user=False
        )

    async def __call__(self, channel: int, frame: Frame) -> int:
        """Post a frame, sealed once: tries after the first carry the same bytes and nonce, and Discord knows them."""
        envelope = frame.seal(self._keys, channel)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_passing),
            wait=_wait,
            before_sleep=_say(channel),
            reraise=True,
        ):
            with attempt:
                try:
                    async with asyncio.timeout(POST_SECONDS):
                        return await self._post(channel, envelope)
                except discord.NotFound as error:
                    if error.code == UNKNOWN_MESSAGE:
                        envelope = frame.seal(self._keys, channel)
                        raise TimeoutError("its message was deleted") from error
                    raise ChannelClosed("there is no such channel any more") from error
                except discord.Forbidden as error:
                    raise ChannelClosed(f"Discord does not let this bot write there: {error.text}") from error
        raise AssertionError("tried until it worked")

    async def _post(self, channel: int, envelope: str) -> int:
        client = self._client()
        if client is None or client.is_closed():
            raise ConnectionError("not connected to Discord")
        place = client.get_partial_messageable(channel, guild_id=self._guild, type=discord.ChannelType.text)
        text, nonce = content(self._peer, envelope), nonce_of(envelope)
        if text is not None:
            sent = await place.send(text, nonce=nonce, allowed_mentions=self._mentions)
        else:
            file = discord.File(io.BytesIO(envelope.encode()), ATTACHMENT)
            sent = await place.send(f"<@{self._peer}>", file=file, nonce=nonce, allowed_mentions=self._mentions)
        return sent.id


def nonce_of(envelope: str) -> str:
    """Return what makes Discord know a post that it has seen before.

    Of the envelope, not of turn and place: text that is asked for again is another post, and has to arrive.
    """
    return base64.b32encode(hashlib.sha256(envelope.encode()).digest()).decode()[:24]


def _passing(error: BaseException) -> bool:
    """Say whether it may work later: the network, Discord's own trouble, a rate limit too long to wait for."""
    if isinstance(error, discord.HTTPException):
        return error.status >= 500 or error.status == 429
    return isinstance(error, (OSError, TimeoutError, aiohttp.ClientError, discord.RateLimited, RuntimeError))


_grows: Final = wait_exponential_jitter(multiplier=0.5, max=RETRY_MOST_SECONDS)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    # To ask before that would be one more invalid request, of which ten thousand shut an address out.
    return error.retry_after if isinstance(error, discord.RateLimited) else _grows(state)


def _say(channel: int) -> Callable[[RetryCallState], None]:
    def said(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("post.waits", channel=channel, tries=state.attempt_number, error=str(error) or type(error).__name__)

    return said
