"""The Server-Bot: an unmodified discord.py client, and what it does with what the gateway tells it."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import discord
import structlog
from discord.ext import tasks

from app.core import keys, redis
from app.core.config import settings
from app.services import channels, nodes, relay
from app.services.channels import Place
from app.wire import names
from app.wire.errors import MeatLizardError
from app.wire.frames import Frame, parse_content
from bots.server.commands.offered import offer
from bots.server.commands.people import People
from bots.server.commands.threads import Threads
from bots.server.frames import Refused, Seen, read
from bots.server.inbox import AWAY, Inbox, Missing
from bots.server.layout import Layout
from bots.server.members import Members
from bots.server.outbox import Outbox, nonce
from bots.server.replies import Replies

log = structlog.get_logger(__name__)

RATE_LIMIT_SECONDS: Final = 60.0
"""A longer wait is not slept through: the task goes back to the queue meanwhile."""
ROUND_SECONDS: Final = 5.0
"""How often silent turns are looked after, and new nodes found."""
QUIET_SECONDS: Final = 6.0
"""A node that writes is heard about once a second; after so much silence its channel's history is read."""
HELLO_SECONDS: Final = 60.0
"""An older HELLO found in the history says nothing of the node as it is now."""


FORBIDDEN: Final = (
    "The Server-Bot lacks a permission in Discord. Ask an administrator to give its role Manage Channels, Manage Roles,"
    " View Channels, Send Messages, Attach Files and Read Message History again, here and in its channels; then press Retry."
)


class ServerBot(discord.Client):
    """Holds the guild, reads the channels, posts frames."""

    def __init__(self, set_ready: Callable[[bool], None]) -> None:
        # Not the members; and message contents only where a person said that they may: whoever speaks to us mentions us.
        super().__init__(
            intents=discord.Intents(
                guilds=True, guild_messages=True, message_content=settings().discord_content
            ),
            max_ratelimit_timeout=RATE_LIMIT_SECONDS,
            max_messages=None,
            allowed_mentions=discord.AllowedMentions.none(),
            chunk_guilds_at_startup=False,
            # There is one guild to wait for, and people to answer there.
            guild_ready_timeout=0.5,
        )
        self._set_ready: Final = set_ready
        self._redis: Final = redis.async_client()
        self._nodes: dict[int, str] = {}
        self._seen: Final = Seen(self._redis)
        self.outbox: Final = Outbox()
        self.layout: Final = Layout(lambda: self.home, self._redis)
        self.inbox: Final = Inbox(self, self._handle)
        self.replies: Final = Replies(self._redis, self._answer)
        self.people: Final = People(self, self._redis)
        self.members: Final = Members()
        self.threads: Final = Threads(self, self.people)
        self.tree: Final = offer(self, self.people)

    @property
    def home(self) -> discord.Guild:
        """The guild in which the bots meet."""
        guild = self.get_guild(settings().discord_guild or 0)
        if guild is None:
            raise discord.ClientException(
                f"The Server-Bot is not in the guild {settings().discord_guild}: invite it, or set MEATLIZARD_DISCORD_GUILD."
            )
        return guild

    def bot_of(self, node: str) -> int | None:
        """Return the user id of a node's Client-Bot."""
        return next((identity for identity, name in self._nodes.items() if name == node), None)

    async def learn_nodes(self) -> None:
        """Read again which bot is which node's."""
        self._nodes = await asyncio.to_thread(nodes.bots)

    # What the gateway tells.

    async def setup_hook(self) -> None:
        """Begin what goes on beside the events."""
        await self.people.start()
        self._round.start()

    async def close(self) -> None:
        """Say goodbye."""
        self._set_ready(False)
        self._round.cancel()
        self.threads.close()
        await self.people.close()
        await super().close()
        await self._redis.aclose()

    async def on_ready(self) -> None:
        """Begin, or begin anew: what was said meanwhile is not told by the gateway."""
        try:
            guild = self.home
        except discord.ClientException as error:
            log.error("discord.no_guild", hint=str(error))
            return
        log.info("discord.ready", guild=guild.id, bot=self._me())
        await self._back()
        await self._tell_commands(guild.id)

    async def on_resumed(self) -> None:
        """Go on: what was said meanwhile is told by the gateway, but it is not trusted to tell all."""
        log.info("discord.resumed")
        await self._back()

    async def _tell_commands(self, guild: int) -> None:
        try:
            await self.tree.tell(guild)
        except (*AWAY, discord.DiscordException, MeatLizardError) as error:
            log.error("commands.untold", error=str(error), hint="Invite the bot with the scope applications.commands.")

    async def on_disconnect(self) -> None:
        """Stop posting, and handle nothing more before the history was read."""
        self._set_ready(False)
        self.inbox.mark_behind()

    async def _back(self) -> None:
        self._set_ready(True)
        self.inbox.mark_behind()
        await self._say_connected()
        await self._look_after()
        try:
            await self.threads.catch_up()
        except MeatLizardError as error:
            log.warning("threads.later", error=str(error))

    async def _say_connected(self) -> None:
        """Tell whoever looks at the stack that Discord is reached, for the next seconds."""
        said: dict[Any, Any] = {"bot": self._me(), "guild": settings().discord_guild or 0, "since": time.time()}
        with contextlib.suppress(*redis.ERRORS):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(names.SERVER_BOT, mapping=said)
                pipe.expire(names.SERVER_BOT, names.SERVER_BOT_TTL_SECONDS)
                await pipe.execute()

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Go on after Discord itself had lost the guild for a while."""
        if guild.id == settings().discord_guild and self.is_ready():
            await self._back()

    async def on_message(self, message: discord.Message) -> None:
        """Read what is said in our channels; what is said to us elsewhere is refused."""
        if message.guild is None or message.guild.id != settings().discord_guild or self.user is None:
            return
        found = parse_content(message.content)
        if message.author.id == self._me():
            self.inbox.skip(message)
        elif isinstance(message.channel, discord.Thread):
            await self.threads.heard(message)
        elif found is not None and found[0] == self._me() and not await self.inbox.take(message):
            await self._elsewhere(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Hear a node that keeps its HELLO up to date by editing it; nothing else is believed from an edit."""
        place = await asyncio.to_thread(channels.at, payload.channel_id)
        if place is not None and place.node is not None and payload.message.author.id != self._me():
            await self._handle(place, payload.message, last=False)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Give the turns of a channel that is gone another attempt; it gets a new channel with that."""
        await self.inbox.settled(channel.id)
        place = self.inbox.forget(channel.id) or await asyncio.to_thread(channels.at, channel.id)
        if place is None:
            return
        log.info("channel.gone", channel=channel.id, session=place.session, node=place.node)
        await asyncio.to_thread(_gone, place, channel.id)

    # What is done with it.

    async def _handle(self, place: Place, message: discord.Message, *, last: bool) -> None:
        try:
            if message.author.id not in self._nodes:
                # A node that was introduced a moment ago, or speaks before this client is ready.
                await self.learn_nodes()
            found = await read(place, message, self._me(), self._nodes, self._seen)
            if found is None:
                return
            node, frame = found
            said = message.edited_at or message.created_at
            live = not last or time.time() - said.timestamp() < HELLO_SECONDS
            await self.replies.take(place, message.channel.id, message.id, node, frame, last=last, live=live)
        except Missing:
            # It is not taken as it came: the history says what stands before it.
            await self._refuse(Refused("out_of_order"), message)
            raise
        except Refused as refused:
            await self._refuse(refused, message)

    async def _elsewhere(self, message: discord.Message) -> None:
        try:
            await read(Place("", None, None, None, 0), message, self._me(), {}, self._seen)
        except Refused as refused:
            await self._refuse(Refused("channel" if message.author.id in self._nodes else refused.reason), message)

    async def _refuse(self, refused: Refused, message: discord.Message) -> None:
        log.info("frame.refused", reason=refused.reason, author=message.author.id, channel=message.channel.id)
        await asyncio.to_thread(
            relay.refused, refused.reason, message.author.id, message.channel.id, suspicious=refused.suspicious
        )

    async def _answer(self, channel: int, node: str, frame: Frame, why: str) -> None:
        peer = self.bot_of(node)
        if peer is None:
            return
        place: Any = self.get_partial_messageable(channel, guild_id=settings().discord_guild)
        mark = nonce(frame.kind.name.lower(), frame.turn, frame.attempt, frame.at, channel, why)
        try:
            await self.outbox.post(place, channel, peer, frame.seal(keys.node(node), channel), mark)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            # The node asks for it by what it does next, or gives up by itself.
            log.warning("answer.lost", kind=frame.kind.name, turn=frame.turn, error=str(error))

    async def post(self, channel: discord.TextChannel, node: str, peer: int, frame: Frame, *mark: object) -> None:
        """Post a frame in a channel; returns when Discord has confirmed it."""
        own = nonce(frame.kind.name.lower(), frame.turn, frame.attempt, *mark, channel.id)
        await self.outbox.post(channel, channel.id, peer, frame.seal(keys.node(node), channel.id), own)

    @tasks.loop(seconds=ROUND_SECONDS)
    async def _round(self) -> None:
        """Look after what no event tells of: new nodes, channels that are still behind, turns that fell silent."""
        if self.is_ready():
            await self._say_connected()
            await self._look_after()

    async def _look_after(self) -> None:
        try:
            await self.learn_nodes()
            await self.inbox.catch_up()
            for _, _, session in await asyncio.to_thread(channels.speaking):
                await self.inbox.look(session, QUIET_SECONDS)
            for identity, node in list(self._nodes.items()):
                await self.layout.control(node, identity)
        except discord.Forbidden as error:
            log.error("discord.forbidden", error=str(error), hint=FORBIDDEN)
        except (*AWAY, discord.DiscordException, MeatLizardError) as error:
            log.warning("round.failed", error=str(error) or type(error).__name__)
        try:
            await self.people.look_after()
            await self.members.look(self.home)
        except (*AWAY, discord.DiscordException, MeatLizardError) as error:
            log.warning("people.later", error=str(error) or type(error).__name__)

    def _me(self) -> int:
        assert self.user is not None
        return self.user.id


def _gone(place: Place, channel: int) -> None:
    channels.lost(channel)
    for turn, attempt, session in channels.speaking():
        if session == place.session:
            relay.cut_off(turn, attempt, session, "The Discord channel of this conversation was removed.")
