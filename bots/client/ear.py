"""The ear: hears the Server-Bot in its guild, live and from the history, and hands on what opens."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Final, Protocol

import aiohttp
import discord
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from app.wire.envelope import NodeKeys
from app.wire.errors import EnvelopeError, EnvelopeTooOld
from app.wire.frames import ATTACHMENT, Frame, FrameKind, parse_content
from bots.client.clock import DiscordClock
from bots.client.config import ClientSettings
from bots.client.herald import ANSWER_SECONDS, Herald
from bots.client.memory import Memory
from bots.client.poster import ChannelClosed

log = structlog.get_logger(__name__)

LOOK_BACK_SECONDS: Final = 1200.0
"""No message older than this concerns a turn that still runs here, or one that is still wanted."""
OVERLAP_SECONDS: Final = 60.0
"""The history is read from so long before the last message that was handled: some may have come out of order."""
ATTACHMENT_BYTES: Final = 8 << 20
"""A longer attachment is no prompt; Discord takes 10 MiB."""
READ_TRIES: Final = 4
AT_ONCE: Final = 4
"""Channels read at the same time: Discord allows 50 requests a second for everything."""
KNOWN: Final = 5000
"""Messages remembered as handled, so that one that comes twice is taken once."""
AWAY: Final = (OSError, TimeoutError, aiohttp.ClientError, discord.DiscordServerError, discord.RateLimited)


class Taker(Protocol):
    """Acts on frames."""

    async def take(self, channel: int, frame: Frame, age: float = 0.0) -> None:
        """Take one that came live."""

    async def catch_up(self, channel: int, missed: Sequence[tuple[Frame, float]]) -> None:
        """Take those that were missed in a channel, the oldest first."""


class Ear(discord.Client):
    """One connection; what outlives it is the memory, the desk and the clock."""

    def __init__(
        self,
        settings: ClientSettings,
        keys: NodeKeys,
        desk: Taker,
        herald: Herald,
        memory: Memory,
        clock: DiscordClock,
        refused: Counter[str],
    ) -> None:
        # Both are unprivileged: what mentions this bot it may read without the message-content intent.
        super().__init__(
            intents=discord.Intents(guilds=True, guild_messages=True),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            # There is one guild to wait for, and people to answer there.
            guild_ready_timeout=0.5,
            max_ratelimit_timeout=60.0,
        )
        self.worked = False
        """Whether Discord has let it in."""
        self._settings: Final = settings
        self._keys: Final = keys
        self._desk: Final = desk
        self._herald: Final = herald
        self._memory: Final = memory
        self._clock: Final = clock
        self._refused: Final = refused
        self._locks: Final[defaultdict[int, asyncio.Lock]] = defaultdict(asyncio.Lock)
        self._handled: Final[deque[int]] = deque(maxlen=KNOWN)
        self._live: Final[dict[int, int]] = {}
        self._behind = True
        """Whether the gateway may have left something out since the history was last read."""
        self._gaps = 0
        self._open: Final = asyncio.Event()
        """Set when it is known that no other Client-Bot speaks with this token."""
        self._reading: Final = asyncio.Lock()

    async def on_ready(self) -> None:
        """Begin, or go on after a session that could not be resumed."""
        assert self.user is not None
        self.worked = True
        log.info("discord.connected", bot=self.user.id, guild=self._settings.discord_guild)
        if self.get_guild(self._settings.discord_guild) is None:
            log.error(
                "discord.no_guild",
                guild=self._settings.discord_guild,
                hint="This bot is not in the guild: invite it with the link that docs/discord.md says how to make.",
            )
        await self._introduce()
        await self.catch_up()

    async def on_resumed(self) -> None:
        """Go on after a gap: what the gateway says it replayed is held against the history."""
        await self.catch_up()

    async def on_disconnect(self) -> None:
        """Note that things may be missed from here on."""
        self._behind = True
        self._gaps += 1

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Forget a channel."""
        self._memory.forget_channel(channel.id)
        self._locks.pop(channel.id, None)
        if channel.id == self._herald.channel:
            self._herald.channel = None

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Begin in a guild that was late."""
        if self.is_ready():
            await self.on_guild_join(guild)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Begin where this bot was invited just now."""
        if guild.id == self._settings.discord_guild:
            await self._introduce()
            await self.catch_up()

    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        """Find the control channel once it is made."""
        if channel.guild.id == self._settings.discord_guild and channel.name == self._herald.channel_name:
            await self._introduce()

    async def on_guild_channel_update(self, _: object, channel: discord.abc.GuildChannel) -> None:
        """Find the control channel once this bot may read it."""
        if self._herald.channel is None:
            await self.on_guild_channel_create(channel)

    async def on_message(self, message: discord.Message) -> None:
        """Hear a message as it comes."""
        if message.guild is None or message.guild.id != self._settings.discord_guild:
            return
        self._clock.note(message.id)
        # One after the other in each channel, also where one has to be fetched: a stop must not overtake its prompt.
        async with self._locks[message.channel.id]:
            try:
                frame = await self._read(message)
                if frame is not None:
                    await self._open.wait()
                    await self._desk.take(message.channel.id, frame, self._clock.age(message.id))
            except (*AWAY, discord.HTTPException) as error:
                # Left unread: the next look at the history comes to it again.
                self._behind = True
                log.warning("message.unread", channel=message.channel.id, error=str(error) or type(error).__name__)
                return
            self._handled.append(message.id)
            if self._behind:
                self._live[message.channel.id] = max(message.id, self._live.get(message.channel.id, 0))
            elif self._private(message.channel):
                self._memory.read(message.channel.id, message.id)

    async def catch_up(self) -> None:
        """Read in every channel what was said since the last message that was handled; one run at a time."""
        async with self._reading:
            guild, gaps = self.get_guild(self._settings.discord_guild), self._gaps
            if guild is None:
                return
            await self._open.wait()
            try:
                # Asked for, not remembered: an event that was lost has not moved what is remembered.
                channels = [one for one in await guild.fetch_channels() if self._private(one)]
                limit = asyncio.Semaphore(AT_ONCE)
                found = await asyncio.gather(*(self._catch_up(one, limit) for one in channels))
            except (*AWAY, discord.HTTPException) as error:
                log.warning("history.unread", error=str(error) or type(error).__name__)
                return
            if all(found) and gaps == self._gaps:
                self._behind = False
                for channel, message in self._live.items():
                    self._memory.read(channel, message)
                self._live.clear()

    async def _catch_up(self, channel: discord.abc.GuildChannel, limit: asyncio.Semaphore) -> bool:
        """Read one channel; return whether there is nothing left to read."""
        if not isinstance(channel, discord.TextChannel):
            return True
        mark = self._memory.watermark(channel.id) or 0
        newest = channel.last_message_id or 0
        if newest <= max(mark, self._clock.ago(LOOK_BACK_SECONDS)) or newest in self._handled:
            return True
        overlap = int(OVERLAP_SECONDS * 1000) << 22
        after = discord.Object(max(mark - overlap, self._clock.ago(LOOK_BACK_SECONDS)))
        missed: list[tuple[Frame, float]] = []
        read: list[int] = []
        last = mark
        try:
            async with limit, self._locks[channel.id]:
                async for message in channel.history(limit=None, after=after, oldest_first=True):
                    frame = None if message.id in self._handled else await self._read(message)
                    if frame is not None:
                        missed.append((frame, self._clock.age(message.id)))
                    last = message.id
                    read.append(last)
                if missed:
                    log.info("history.read", channel=channel.id, frames=len(missed))
                await self._desk.catch_up(channel.id, missed)
                self._handled.extend(read)
                self._memory.read(channel.id, max(last, self._live.pop(channel.id, 0)))
        except (discord.NotFound, discord.Forbidden) as error:
            log.info("channel.gone", channel=channel.id, error=str(error))
        except AWAY as error:
            log.warning("history.unread", channel=channel.id, error=str(error) or type(error).__name__)
            return False
        return True

    async def _read(self, message: discord.Message) -> Frame | None:
        """Return the frame that the Server-Bot sent us with a message; None for all that is not one."""
        assert self.user is not None
        if message.author.id == self.user.id:
            self._hear_itself(message)
            return None
        if message.id in self._handled:
            self._refused["twice"] += 1
            return None
        found = parse_content(message.content)
        if found is None or found[0] != self.user.id:
            return None
        if message.author.id != self._settings.discord_server_bot or message.webhook_id is not None:
            self._refuse("stranger", message)
            return None
        try:
            envelope = found[1] or await self._attached(message)
        except discord.NotFound:
            # What was attached is gone, or the message is: not its channel, where others may stand behind it.
            envelope = None
        if envelope is None:
            self._refuse("empty", message)
            return None
        try:
            frame = Frame.open(envelope, self._keys, message.channel.id, from_node=False)
        except EnvelopeError as error:
            self._refuse("old" if isinstance(error, EnvelopeTooOld) else "forged", message)
            return None
        if self._memory.elsewhere(envelope, message.id):
            self._refuse("copied", message)
            return None
        return frame

    async def _attached(self, message: discord.Message) -> str | None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((*AWAY, discord.HTTPException)),
            stop=stop_after_attempt(READ_TRIES),
            wait=wait_exponential_jitter(multiplier=0.3, max=5),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    # The link is signed and runs out; the message has a new one.
                    message = await message.channel.fetch_message(message.id)
                for one in message.attachments:
                    if one.filename == ATTACHMENT and one.size <= ATTACHMENT_BYTES:
                        return (await one.read()).decode("ascii", "replace")
        return None

    async def _introduce(self) -> None:
        """Say hello, after a look at whether another already speaks with this token."""
        guild = self.get_guild(self._settings.discord_guild)
        if guild is None:
            return
        name = self._herald.channel_name
        channel = next((one for one in guild.text_channels if one.name == name and self._private(one)), None)
        if channel is None:
            log.info("discord.no_control_channel", name=name, hint="The Server-Bot makes it once it knows this node.")
            self._open.set()
            return
        self._herald.channel = channel.id
        doubt = False
        try:
            if not self._herald.first:
                async for message in channel.history(limit=20):
                    self._clock.note(message.id)
                    doubt = (message.author == self.user and self._hear_itself(message)) or doubt
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._herald.say()
                if doubt:
                    # It may have been killed a moment ago, and this is who was started in its place.
                    await self._herald.elder.wait()
        except (*AWAY, ChannelClosed, discord.HTTPException):
            # Nobody was there before, or Discord takes no message just now: it is said again later.
            self._herald.tell()
        if not self._herald.elder.is_set():
            self._open.set()

    def _hear_itself(self, message: discord.Message) -> bool:
        found = parse_content(message.content) if message.channel.id == self._herald.channel else None
        if found is None or found[1] is None:
            return False
        try:
            frame = Frame.open(found[1], self._keys, message.channel.id, from_node=True)
        except EnvelopeError:
            return False
        return frame.kind is FrameKind.HELLO and self._herald.hear(message.id, frame)

    def _private(self, channel: object) -> bool:
        """Say whether a channel is one of those made for this bot: it may read there, and the guild may not."""
        if not isinstance(channel, discord.TextChannel) or channel.guild.me is None:
            return False
        mine = channel.permissions_for(channel.guild.me)
        return mine.read_messages and not channel.permissions_for(channel.guild.default_role).read_messages

    def _refuse(self, why: str, message: discord.Message) -> None:
        self._refused[why] += 1
        log.info("message.refused", why=why, channel=message.channel.id, author=message.author.id)
