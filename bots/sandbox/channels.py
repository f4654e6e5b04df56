"""Channels and categories with their overwrites (docs: resources/channel, resources/guild Create Guild Channel)."""

from typing import Any, Final

from bots.sandbox import access, threads
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import ANNOUNCEMENT, CATEGORY, DM, TEXT, VOICE, Channel, Guild, Overwrite
from bots.sandbox.rest import Answer, Api, Call
from bots.sandbox.world import World

MOST_CHANNELS: Final = 500
"""In a guild, categories among them, threads not (docs: opcodes-and-status-codes, 30013)."""
MOST_IN_CATEGORY: Final = 50
MOST_OVERWRITES: Final = 1000
NAME: Final = 100
TOPIC: Final = 1024
KINDS: Final = frozenset({TEXT, VOICE, CATEGORY, ANNOUNCEMENT})


def routes(api: Api) -> None:
    """Serve them."""
    api.add("GET", "/guilds/{guild}/channels", _list)
    api.add("POST", "/guilds/{guild}/channels", _create, "channel create")
    api.add("PATCH", "/guilds/{guild}/channels", _move)
    api.add("GET", "/channels/{channel}", _get)
    api.add("PATCH", "/channels/{channel}", _edit, "channel edit")
    api.add("DELETE", "/channels/{channel}", _delete, "channel delete")
    api.add("PUT", "/channels/{channel}/permissions/{overwrite}", _allow, "overwrite")
    api.add("DELETE", "/channels/{channel}/permissions/{overwrite}", _disallow, "overwrite")
    api.add("POST", "/users/@me/channels", _open_dm, "dm create")


async def _list(call: Call) -> Any:
    """Hidden ones are left out (docs: resources/channel, Obfuscated Channels)."""
    store = call.world.store
    guild = access.guild(store, call.id("guild"), call.bot)
    return [
        call.world.shapes.channel(one) for one in store.guild_channels(guild.id) if may.may_view(store, one, call.bot)
    ]


async def _get(call: Call) -> Any:
    return call.world.shapes.channel(access.channel(call.world.store, call.id("channel"), call.bot))


async def _create(call: Call) -> Any:
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    access.in_guild(world.store, guild, call.bot, may.MANAGE_CHANNELS)
    return Answer(201, world.shapes.channel(create(world, guild, call.bot, await call.json())))


def create(world: World, guild: Guild, actor: int | None, wanted: dict[str, Any]) -> Channel:
    """Make a channel; without an actor (the control API) nothing but the limits is checked."""
    store = world.store
    kind = int(wanted.get("type") or TEXT)
    if kind not in KINDS:
        raise invalid("type", "BASE_TYPE_CHOICES", f"Value must be one of {sorted(KINDS)}.")
    if len(store.guild_channels(guild.id)) >= MOST_CHANNELS:
        raise ApiError(Problem.CHANNELS_FULL)
    channel = Channel(world.new_id(), kind, guild.id, _name(wanted.get("name"), kind))
    _parent(world, channel, wanted.get("parent_id"))
    channel.topic = _topic(wanted.get("topic"))
    siblings = [one.position for one in store.guild_channels(guild.id) if (one.type == CATEGORY) == (kind == CATEGORY)]
    channel.position = int(wanted["position"]) if wanted.get("position") is not None else max(siblings, default=-1) + 1
    channel.slowmode = int(wanted.get("rate_limit_per_user") or 0)
    channel.nsfw = bool(wanted.get("nsfw"))
    if wanted.get("permission_overwrites"):
        channel.overwrites = _overwrites(world, guild, wanted["permission_overwrites"])
        if actor is not None:
            _grants(world, guild, channel, actor, [], channel.overwrites)
    elif channel.parent is not None:
        # Made in a category without overwrites of its own, a channel takes the category's; discord.py sends [] for none.
        parent = store.channels[channel.parent]
        channel.overwrites = [Overwrite(one.id, one.type, one.allow, one.deny) for one in parent.overwrites]
    store.channels[channel.id] = channel
    world.gateway.show(channel, new=True)
    return channel


async def _edit(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot)
    wanted = await call.json()
    if channel.thread is not None:
        threads.edit(world, channel, call.bot, wanted)
        return world.shapes.channel(channel)
    guild = _guild_of(world, channel)
    access.channel(world.store, channel.id, call.bot, may.MANAGE_CHANNELS)
    renamed = any(wanted.get(key, getattr(channel, key)) != getattr(channel, key) for key in ("name", "topic"))
    if renamed:
        # A limit within the route's limit, known from bots only: 2 changes of name or topic in 10 minutes.
        verdict = world.limits.take(f"bot {call.bot}", "channel rename", str(channel.id))
        if verdict.retry_after is not None:
            error = ApiError(Problem.BAD_REQUEST, retry_after=verdict.retry_after)
            error.status, error.message = 429, "You are being rate limited."
            raise error
    edit(world, guild, channel, call.bot, wanted)
    return world.shapes.channel(channel)


def edit(world: World, guild: Guild, channel: Channel, actor: int | None, wanted: dict[str, Any]) -> None:
    """Change a channel and tell who sees it, saw it or sees it now."""
    if "permission_overwrites" in wanted:
        overwrites = _overwrites(world, guild, wanted["permission_overwrites"] or [])
        if actor is not None and overwrites != channel.overwrites:
            access.channel(world.store, channel.id, actor, may.MANAGE_ROLES)
            _grants(world, guild, channel, actor, channel.overwrites, overwrites)
        channel.overwrites = overwrites
    if wanted.get("name") is not None:
        channel.name = _name(wanted["name"], channel.type)
    if "parent_id" in wanted:
        _parent(world, channel, wanted["parent_id"])
    if "topic" in wanted:
        channel.topic = _topic(wanted["topic"])
    if wanted.get("position") is not None:
        channel.position = int(wanted["position"])
    channel.slowmode = int(wanted.get("rate_limit_per_user") or channel.slowmode)
    channel.nsfw = bool(wanted.get("nsfw", channel.nsfw))
    _changed(world, channel)


def _changed(world: World, channel: Channel) -> None:
    world.gateway.show(channel)
    assert channel.guild is not None
    # Threads live under their channel's overwrites.
    under = [one for one in world.store.guild_threads(channel.guild) if one.parent == channel.id]
    world.gateway.reconsider(channel.guild, under)


async def _move(call: Call) -> Any:
    """Positions and parents of several channels (docs: resources/guild, Modify Guild Channel Positions)."""
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    access.in_guild(world.store, guild, call.bot, may.MANAGE_CHANNELS)
    for wanted in await call.any_json():
        channel = access.channel(world.store, int(wanted["id"]), call.bot)
        change = {key: wanted[key] for key in ("position", "parent_id") if key in wanted}
        if wanted.get("lock_permissions") and change.get("parent_id"):
            parent = world.store.channels.get(int(change["parent_id"]))
            channel.overwrites = list(parent.overwrites) if parent else channel.overwrites
        edit(world, guild, channel, None, change)


async def _delete(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot)
    shape = world.shapes.channel(channel)
    if channel.type == DM:
        # "Closing" a direct conversation only hides it.
        return shape
    access.channel(world.store, channel.id, call.bot, may.MANAGE_THREADS if channel.thread else may.MANAGE_CHANNELS)
    delete(world, channel)
    return shape


def delete(world: World, channel: Channel) -> None:
    """Delete a channel with its threads; a category's channels stay (docs: resources/channel, Delete/Close Channel)."""
    for child in [one for one in world.store.channels.values() if one.parent == channel.id]:
        if child.thread is not None:
            world.gateway.gone(child)
            world.store.remove_channel(child)
        else:
            child.parent = None
            world.gateway.show(child)
    world.gateway.gone(channel)
    world.store.remove_channel(channel)


async def _allow(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot, may.MANAGE_ROLES)
    guild = _guild_of(world, channel)
    wanted = await call.json() | {"id": call.id("overwrite")}
    new = _overwrites(world, guild, [wanted])
    others = [one for one in channel.overwrites if one.id != new[0].id]
    if len(others) >= MOST_OVERWRITES:
        raise ApiError(Problem.OVERWRITES_FULL)
    _grants(world, guild, channel, call.bot, channel.overwrites, others + new)
    channel.overwrites = others + new
    _changed(world, channel)


async def _disallow(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot, may.MANAGE_ROLES)
    target = call.id("overwrite")
    others = [one for one in channel.overwrites if one.id != target]
    if len(others) == len(channel.overwrites):
        raise ApiError(Problem.UNKNOWN_OVERWRITE)
    channel.overwrites = others
    _changed(world, channel)


async def _open_dm(call: Call) -> Any:
    world = call.world
    wanted = await call.json()
    person = access.user(world.store, int(wanted.get("recipient_id") or 0))
    if person.bot:
        raise ApiError(Problem.CANNOT_MESSAGE_USER)
    return world.shapes.channel(direct(world, call.bot, person.id))


def direct(world: World, bot: int, person: int) -> Channel:
    """The direct conversation of a bot and a person, made when it is first needed."""
    for one in world.store.channels.values():
        if one.type == DM and {bot, person} == set(one.recipients):
            return one
    channel = Channel(world.new_id(), DM, recipients=[person, bot])
    world.store.channels[channel.id] = channel
    return channel


def _guild_of(world: World, channel: Channel) -> Guild:
    if channel.guild is None:
        raise ApiError(Problem.NOT_IN_DM)
    return world.store.guilds[channel.guild]


def _name(name: Any, kind: int) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= NAME:
        raise invalid("name", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {NAME} in length.")
    # Text channels are written small and with dashes, whatever was asked for.
    return "-".join(name.lower().split()) if kind in (TEXT, ANNOUNCEMENT) else name


def _topic(topic: Any) -> str | None:
    if topic is not None and len(topic) > TOPIC:
        raise invalid("topic", "BASE_TYPE_MAX_LENGTH", f"Must be {TOPIC} or fewer in length.")
    return topic or None


def _parent(world: World, channel: Channel, wanted: Any) -> None:
    if wanted is None:
        channel.parent = None
        return
    parent = world.store.channels.get(int(wanted))
    if parent is None or parent.type != CATEGORY or parent.guild != channel.guild or channel.type == CATEGORY:
        raise invalid("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
    inside = [
        one for one in world.store.guild_channels(parent.guild or 0) if one.parent == parent.id and one.id != channel.id
    ]
    if len(inside) >= MOST_IN_CATEGORY:
        code = "CHANNEL_PARENT_MAX_CHANNELS"
        raise invalid("parent_id", code, f"Maximum number of channels in category reached ({MOST_IN_CATEGORY})")
    channel.parent = parent.id


def _overwrites(world: World, guild: Guild, wanted: list[dict[str, Any]]) -> list[Overwrite]:
    if len(wanted) > MOST_OVERWRITES:
        raise ApiError(Problem.OVERWRITES_FULL)
    found: dict[int, Overwrite] = {}
    for one in wanted:
        target = int(one["id"])
        role = target in world.store.roles and world.store.roles[target].guild == guild.id
        kind = int(one["type"]) if one.get("type") in (0, 1, "0", "1") else (0 if role else 1)
        if kind == 0 and not role:
            raise ApiError(Problem.UNKNOWN_ROLE)
        allow, deny = int(one.get("allow") or 0) & may.ALL, int(one.get("deny") or 0) & may.ALL
        found[target] = Overwrite(target, kind, allow, deny)
    return list(found.values())


def _grants(
    world: World, guild: Guild, channel: Channel, actor: int, old: list[Overwrite], new: list[Overwrite]
) -> None:
    """Refuse bits the bot does not hold itself (docs: Create Guild Channel; Edit Channel Permissions)."""
    held = may.in_guild(world.store, guild, actor)
    if channel.id in world.store.channels:
        held |= may.in_channel(world.store, channel, actor)
    before = {one.id: one for one in old}
    for one in new:
        was = before.get(one.id, Overwrite(one.id, one.type))
        touched = (one.allow ^ was.allow) | (one.deny ^ was.deny)
        # Setting MANAGE_ROLES in a channel is for administrators alone.
        if touched & ~held or (touched & may.MANAGE_ROLES and not held & may.ADMINISTRATOR):
            raise ApiError(Problem.MISSING_PERMISSIONS)
