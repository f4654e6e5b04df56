"""The guild as we lay it out: categories, one private channel for each session, one for each node; never over its caps."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import discord
import structlog
from redis.asyncio import Redis

from app.services import channels, links
from app.services.channels import Place
from app.wire import names

log = structlog.get_logger(__name__)

GUILD_CHANNELS: Final = 500
"""Channels of a guild, its categories among them (Discord's error 30013)."""
CATEGORY_CHANNELS: Final = 50
FULL: Final = frozenset({30013, 50035})
"""Discord's codes for a full guild, and for a form with an error in it, such as a full category."""
RESERVE: Final = 10
"""Channels left free for the guild's own people."""
NODES: Final = "MeatLizard nodes"
SESSIONS: Final = "MeatLizard"
"""Followed by a number from 1 on."""
LOCK_SECONDS: Final = 120
"""Longer than opening a channel takes with a rate limit in the way; a dead Server-Bot's lock ends by itself."""
LOCK_LOOK_SECONDS: Final = 0.02
"""Between two looks whether the lock is free; a channel takes about as long to be made."""
BOT_MAY: Final = discord.PermissionOverwrite(
    view_channel=True, send_messages=True, read_message_history=True, attach_files=True
)
OWNER_MAY: Final = discord.PermissionOverwrite(view_channel=True, read_message_history=True, send_messages=False)
"""A session's owner, once their accounts are linked and the setting says so, sees that something sealed goes on there."""
NOBODY: Final = discord.PermissionOverwrite(view_channel=False)

Overwrites = dict[discord.Role | discord.Member | discord.Object, discord.PermissionOverwrite]


class Layout:
    """Opens and removes channels; one Server-Bot at a time, however many there are."""

    def __init__(self, guild: Callable[[], discord.Guild], redis: Redis, room: int = GUILD_CHANNELS - RESERVE) -> None:
        self._guild: Final = guild
        self._redis: Final = redis
        self._room: Final = room
        self._doubt: Final[set[str]] = set()
        """Places whose channel may have been made though Discord did not say so."""
        self._removed: Final[set[int]] = set()
        """Channels that we removed; the gateway may tell the cache of it late."""

    async def session(self, session: str, node_bot: int | None = None) -> discord.TextChannel | None:
        """Return the channel of a session, opened if need be, readable for a node's bot; None for no such session."""
        place = await asyncio.to_thread(channels.of_session, session)
        return await self._channel(place, node_bot) if place else None

    async def control(self, node: str, node_bot: int) -> discord.TextChannel:
        """Return the channel in which a node is spoken to, opened if need be."""
        return await self._channel(await asyncio.to_thread(channels.of_node, node), node_bot)

    async def show(self, place: Place, owner: int, *, sees: bool) -> None:
        """Let a session's owner see its channel, or no longer; does nothing where it has none."""
        channel = await self._known(place)
        if channel is None:
            return
        given: Any = {target: pair for target, pair in channel.overwrites.items() if target.id != owner}
        if sees:
            given[discord.Object(owner, type=discord.Member)] = OWNER_MAY
        await channel.edit(overwrites=given)

    async def remove(self, place: Place) -> None:
        """Remove a place's channel, if it has one."""
        if place.discord_id is None:
            return
        try:
            channel = self._guild().get_channel(place.discord_id) or await self._guild().fetch_channel(place.discord_id)
            await channel.delete(reason="The session is over, or has long been idle.")
        except discord.NotFound:
            pass
        self._removed.add(place.discord_id)
        await asyncio.to_thread(channels.lost, place.discord_id)

    async def _channel(self, place: Place, node_bot: int | None) -> discord.TextChannel:
        channel = await self._known(place)
        if channel is None:
            async with self._alone():
                # Somebody else may have opened it while we waited.
                place = await asyncio.to_thread(_again, place)
                channel = await self._known(place) or await self._open(place, node_bot)
        if node_bot is not None:
            await self._admit(channel, node_bot)
        return channel

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        lock = self._redis.lock(names.LAYOUT, timeout=LOCK_SECONDS, blocking_timeout=LOCK_SECONDS, sleep=LOCK_LOOK_SECONDS)
        async with lock:
            yield

    async def _known(self, place: Place) -> discord.TextChannel | None:
        if place.discord_id is None:
            return None
        found: Any = self._guild().get_channel(place.discord_id)
        if found is None:
            # The gateway may not have told of it yet, where another Server-Bot made it.
            try:
                found = await self._guild().fetch_channel(place.discord_id)
            except discord.NotFound:
                await asyncio.to_thread(channels.lost, place.discord_id)
        return found if isinstance(found, discord.TextChannel) else None

    async def _open(self, place: Place, node_bot: int | None) -> discord.TextChannel:
        channel = await self._made_before(place)
        if channel is None:
            self._doubt.add(place.id)
            try:
                channel = await self._create(place, node_bot, list(self._guild().channels))
            except discord.HTTPException as error:
                if error.code not in FULL:
                    raise
                # The cache has missed something.
                channel = await self._create(place, node_bot, list(await self._guild().fetch_channels()))
            log.info("channel.opened", channel=channel.id, name=channel.name)
        else:
            log.info("channel.adopted", channel=channel.id, name=channel.name)
            await channel.edit(overwrites=await self._overwrites(place, node_bot))
        counts = await asyncio.to_thread(channels.opened, place, channel.id)
        self._doubt.discard(place.id)
        if counts != channel.id:
            await channel.delete(reason="Another one was made first.")
            other = await self._guild().fetch_channel(counts)
            assert isinstance(other, discord.TextChannel)
            return other
        return channel

    async def _create(self, place: Place, node_bot: int | None, here: list[Any]) -> discord.TextChannel:
        category: Any = await self._category(NODES if place.node else None, here)
        return await self._guild().create_text_channel(
            place.name, category=category, topic=place.topic, overwrites=await self._overwrites(place, node_bot)
        )

    async def _made_before(self, place: Place) -> discord.TextChannel | None:
        """Find a channel that was made for this place but never written down."""
        here = self._guild().text_channels
        if place.id in self._doubt:
            here = [one for one in await self._guild().fetch_channels() if isinstance(one, discord.TextChannel)]
        ours = (one for one in here if one.topic == place.topic and one.name == place.name)
        return min(ours, key=lambda one: one.id, default=None)

    async def _category(self, name: str | None, here: list[Any]) -> discord.abc.Snowflake:
        """Return a category with room in it, and see to it that the guild has room for one more channel."""
        guild = self._guild()
        self._removed.intersection_update(one.id for one in here)
        here = [one for one in here if one.id not in self._removed]
        pattern = re.compile(re.escape(name) if name else rf"{SESSIONS} \d+")
        while True:
            ours = [one for one in here if isinstance(one, discord.CategoryChannel) and pattern.fullmatch(one.name)]
            inside = Counter(one.category_id for one in here if not isinstance(one, discord.CategoryChannel))
            roomy = [one for one in ours if inside[one.id] < CATEGORY_CHANNELS]
            if len(here) + (1 if roomy else 2) <= self._room:
                break
            freed = await self._recycle()
            if freed is None:
                log.warning("guild.full", channels=len(here), room=self._room)
                break
            here = [one for one in here if one.id != freed]
        if roomy:
            return min(roomy, key=lambda one: (len(one.name), one.name))
        taken = {one.name for one in ours}
        made = name or next(one for one in (f"{SESSIONS} {number}" for number in itertools.count(1)) if one not in taken)
        return await guild.create_category(made, overwrites={guild.default_role: NOBODY, guild.me: BOT_MAY})

    async def _recycle(self) -> int | None:
        """Remove the channel that has been idle longest, and return its id; None where each is in use."""
        for place in await asyncio.to_thread(channels.idle, 1):
            await asyncio.to_thread(channels.recycled, place)
            await self.remove(place)
            return place.discord_id
        return None

    async def _overwrites(self, place: Place, node_bot: int | None) -> Overwrites:
        guild = self._guild()
        found: Overwrites = {guild.default_role: NOBODY, guild.me: BOT_MAY}
        if node_bot is not None:
            found[discord.Object(node_bot, type=discord.Member)] = BOT_MAY
        owner = await asyncio.to_thread(links.owner_shown, place.session) if place.session else None
        if owner is not None:
            found[discord.Object(owner, type=discord.Member)] = OWNER_MAY
        return found

    async def _admit(self, channel: discord.TextChannel, node_bot: int) -> None:
        """Let a node's bot read and write here, where it may not yet."""
        given = {target.id: pair for target, pair in channel.overwrites.items()}
        if given.get(node_bot) == BOT_MAY:
            return
        overwrites: Any = channel.overwrites | {discord.Object(node_bot, type=discord.Member): BOT_MAY}
        await channel.edit(overwrites=overwrites)


def _again(place: Place) -> Place:
    found = channels.of_node(place.node) if place.node else channels.of_session(str(place.session))
    return found or place
