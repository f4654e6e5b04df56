"""Reading the channels: in order, each message once, from the history wherever the gateway may have left something out."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp
import discord
import structlog
from discord.utils import time_snowflake

from app.core import redis
from app.core.models import now
from app.services import channels
from app.services.channels import Place
from app.wire.errors import Unavailable
from app.wire.frames import MAX_AGE_SECONDS

log = structlog.get_logger(__name__)

READERS: Final = 4
"""Channels caught up with at once: enough to be quick, few enough to leave requests for those who speak now."""
AWAY: Final = (Unavailable, *redis.ERRORS, aiohttp.ClientError, discord.DiscordServerError, discord.RateLimited)
"""What keeps a message from being handled now, though not for ever."""


class Missing(Exception):
    """Something before this message has not come: the history may have it."""


class Handler(Protocol):
    """Acts on one message; `last` says that the history was read and holds no more than this."""

    async def __call__(self, place: Place, message: discord.Message, *, last: bool) -> None:
        """Act on it; raise Missing where something before it has not come, unless it is the last."""
        ...


@dataclass(slots=True)
class Shelf:
    """One channel and how far it was read."""

    place: Place
    channel: int
    handled: int
    ours: int = 0
    """The newest message that was seen, our own among them: nothing is to be done with those."""
    behind: bool = True
    """Whether messages may have been missed since `handled`; true until the history was read."""
    heard_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Inbox:
    """Hands each message to its handler, the oldest first."""

    def __init__(self, client: discord.Client, handler: Handler) -> None:
        self._client: Final = client
        self._handler: Final = handler
        self._shelves: Final[dict[int, Shelf]] = {}
        self._readers: Final = asyncio.Semaphore(READERS)
        self._reading: asyncio.Task[None] | None = None

    def mark_behind(self) -> None:
        """Note that the gateway was away: nothing is handled until the history was read."""
        for shelf in self._shelves.values():
            shelf.behind = True

    def forget(self, channel: int) -> Place | None:
        """Let go of a channel that is gone; return what it was for."""
        shelf = self._shelves.pop(channel, None)
        return shelf.place if shelf else None

    async def settled(self, channel: int) -> None:
        """Wait until what was said in a channel before now is handled."""
        shelf = self._shelves.get(channel)
        if shelf is not None:
            async with shelf.lock:
                return

    def skip(self, message: discord.Message) -> None:
        """Note a message of our own."""
        shelf = self._shelves.get(message.channel.id)
        if shelf is not None and not shelf.behind:
            shelf.ours = max(shelf.ours, message.id)

    async def take(self, message: discord.Message) -> bool:
        """Handle a message that the gateway brought; False where its channel is none of ours."""
        shelf = self._shelves.get(message.channel.id) or await self._shelf(message.channel.id)
        if shelf is None:
            return False
        async with shelf.lock:
            try:
                if shelf.behind:
                    await self._catch_up(shelf)
                elif message.id > shelf.handled:
                    await self._handle(shelf, message, last=False)
            except Missing:
                await self._quietly(shelf)
            except AWAY as error:
                shelf.behind = True
                log.warning("inbox.waits", channel=shelf.channel, error=str(error) or type(error).__name__)
        return True

    async def catch_up(self) -> None:
        """Read what every channel has that was not handled; one run at a time, whoever asks."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._catch_up_all(), name="catch-up")
        await asyncio.shield(self._reading)

    async def look(self, session: str, quiet_seconds: float) -> None:
        """Read a session's channel where it has been silent for so long: an event may have been lost."""
        for shelf in list(self._shelves.values()):
            if shelf.place.session == session and time.monotonic() - shelf.heard_at > quiet_seconds:
                async with shelf.lock:
                    await self._quietly(shelf)

    async def _shelf(self, channel: int) -> Shelf | None:
        place = await asyncio.to_thread(channels.at, channel)
        if place is None:
            return None
        return self._shelves.setdefault(channel, Shelf(place, channel, place.handled))

    async def _catch_up_all(self) -> None:
        for place in await asyncio.to_thread(channels.there):
            if place.discord_id is not None:
                self._shelves.setdefault(place.discord_id, Shelf(place, place.discord_id, place.handled))
        talking = {session for _, _, session in await asyncio.to_thread(channels.speaking)}
        # Who waits for a reply comes first; where nothing was said since, there is nothing to read.
        behind = [shelf for shelf in self._shelves.values() if shelf.behind]
        behind.sort(key=lambda shelf: (shelf.place.session not in talking, shelf.place.session is not None))
        await asyncio.gather(*(self._one(shelf, shelf.place.session in talking) for shelf in behind))

    async def _one(self, shelf: Shelf, talks: bool) -> None:
        async with self._readers, shelf.lock:
            known: Any = self._client.get_channel(shelf.channel)
            newest = getattr(known, "last_message_id", None) or 0
            if not shelf.behind:
                return
            if not talks and known is not None and newest <= max(shelf.handled, shelf.ours):
                shelf.behind = False
                return
            await self._quietly(shelf)

    async def _quietly(self, shelf: Shelf) -> None:
        try:
            await self._catch_up(shelf)
        except AWAY as error:
            log.warning("inbox.waits", channel=shelf.channel, error=str(error) or type(error).__name__)

    async def _catch_up(self, shelf: Shelf) -> None:
        # Frames older than this would not be believed, and nobody waits for them.
        oldest = time_snowflake(now()) - (2 * MAX_AGE_SECONDS * 1000 << 22)
        shelf.behind, shelf.heard_at = False, time.monotonic()
        try:
            channel: Any = self._client.get_channel(shelf.channel) or await self._client.fetch_channel(shelf.channel)
            after = discord.Object(max(shelf.handled, oldest))
            async for message in channel.history(limit=None, after=after, oldest_first=True):
                if self._client.user is None or message.author.id != self._client.user.id:
                    await self._handle(shelf, message, last=True)
                shelf.ours = message.id
        except discord.NotFound:
            self._shelves.pop(shelf.channel, None)
            await asyncio.to_thread(channels.lost, shelf.channel)
        except discord.Forbidden as error:
            shelf.behind = True
            log.error(
                "discord.forbidden",
                channel=shelf.channel,
                error=str(error),
                hint="Give the Server-Bot View Channel and Read Message History in this channel again.",
            )
        except BaseException:
            shelf.behind = True
            raise

    async def _handle(self, shelf: Shelf, message: discord.Message, *, last: bool) -> None:
        shelf.heard_at = time.monotonic()
        try:
            await self._handler(shelf.place, message, last=last)
        except (Missing, *AWAY):
            raise
        except Exception:
            # One message that cannot be handled must not hold up all that come after it.
            log.exception("inbox.failed", channel=shelf.channel, message=message.id)
        await asyncio.to_thread(channels.handled, shelf.channel, message.id)
        shelf.handled = max(shelf.handled, message.id)
