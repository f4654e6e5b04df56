"""Threads, public and private, and who is in them (docs: topics/threads, resources/channel)."""

from typing import Any, Final

from bots.sandbox import access
from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import ANNOUNCEMENT, PRIVATE_THREAD, PUBLIC_THREAD, TEXT, Channel, Thread
from bots.sandbox.rest import Answer, Api, Call
from bots.sandbox.world import World

MOST_ACTIVE: Final = 1000
"""Active threads in a guild (160006); the number is what others saw, Discord names none."""
DURATIONS: Final = (60, 1440, 4320, 10080)
"""Minutes until a quiet thread is archived."""


def routes(api: Api) -> None:
    """Serve them."""
    api.add("POST", "/channels/{channel}/threads", _create, "thread create")
    api.add("POST", "/channels/{channel}/messages/{message}/threads", _create_from_message, "thread create")
    api.add("GET", "/guilds/{guild}/threads/active", _active)
    for kind in ("public", "private"):
        api.add("GET", f"/channels/{{channel}}/threads/archived/{kind}", _archived)
    api.add("GET", "/channels/{channel}/users/@me/threads/archived/private", _archived)
    api.add("GET", "/channels/{channel}/thread-members", _members)
    api.add("GET", "/channels/{channel}/thread-members/{user}", _member)
    api.add("PUT", "/channels/{channel}/thread-members/@me", _join)
    api.add("PUT", "/channels/{channel}/thread-members/{user}", _join)
    api.add("DELETE", "/channels/{channel}/thread-members/@me", _leave)
    api.add("DELETE", "/channels/{channel}/thread-members/{user}", _leave)


async def _create(call: Call) -> Any:
    wanted = await call.json()
    kind = int(wanted.get("type", PRIVATE_THREAD))
    if kind not in (PUBLIC_THREAD, PRIVATE_THREAD):
        raise invalid("type", "BASE_TYPE_CHOICES", "Value must be one of (11, 12).")
    parent = access.channel(call.world.store, call.id("channel"), call.bot)
    return _made(call, create(call.world, parent, call.bot, kind, wanted))


async def _create_from_message(call: Call) -> Any:
    """The thread takes the message's id (docs: Start Thread from Message)."""
    store = call.world.store
    parent = access.channel(store, call.id("channel"), call.bot, may.READ_MESSAGE_HISTORY)
    message = access.message(store, parent.id, call.id("message"))
    if message.id in store.channels:
        raise ApiError(Problem.HAS_THREAD)
    thread = create(call.world, parent, call.bot, PUBLIC_THREAD, await call.json(), message.id)
    return _made(call, thread)


def _made(call: Call, thread: Channel) -> Answer:
    shapes = call.world.shapes
    return Answer(201, shapes.channel(thread) | {"member": shapes.thread_member(thread, call.bot)})


def create(
    world: World, parent: Channel, owner: int, kind: int, wanted: dict[str, Any], thread_id: int | None = None
) -> Channel:
    """Open a thread in a channel."""
    store = world.store
    if parent.type not in (TEXT, ANNOUNCEMENT) or parent.guild is None:
        raise ApiError(Problem.WRONG_CHANNEL_TYPE)
    needs = may.CREATE_PRIVATE_THREADS if kind == PRIVATE_THREAD else may.CREATE_PUBLIC_THREADS
    access.channel(store, parent.id, owner, needs)
    if len(store.guild_threads(parent.guild)) >= MOST_ACTIVE:
        raise ApiError(Problem.THREADS_FULL)
    now = world.clock.time()
    thread = Thread(owner, {owner: now}, changed=now, invitable=bool(wanted.get("invitable", True)))
    channel = Channel(
        thread_id or world.new_id(), kind, parent.guild, _name(wanted.get("name")), parent.id, thread=thread
    )
    thread.auto_archive = _duration(wanted.get("auto_archive_duration") or 1440)
    channel.slowmode = int(wanted.get("rate_limit_per_user") or 0)
    store.channels[channel.id] = channel
    world.gateway.show(channel, new=True)
    return channel


def edit(world: World, channel: Channel, actor: int, wanted: dict[str, Any]) -> None:
    """Change a thread; its owner may archive and rename it, the rest needs MANAGE_THREADS."""
    thread = channel.thread
    assert thread is not None
    given = may.in_channel(world.store, channel, actor)
    free = {"name", "archived", "auto_archive_duration"} if thread.owner == actor else set()
    if set(wanted) - free and not given & may.MANAGE_THREADS:
        raise ApiError(Problem.MISSING_PERMISSIONS)
    if thread.archived and wanted.get("archived") is not False:
        raise ApiError(Problem.THREAD_ARCHIVED)
    if wanted.get("name") is not None:
        channel.name = _name(wanted["name"])
    if "archived" in wanted and bool(wanted["archived"]) != thread.archived:
        thread.archived, thread.changed = bool(wanted["archived"]), world.clock.time()
    thread.locked = bool(wanted.get("locked", thread.locked))
    thread.invitable = bool(wanted.get("invitable", thread.invitable))
    if wanted.get("auto_archive_duration"):
        thread.auto_archive = _duration(wanted["auto_archive_duration"])
    if wanted.get("rate_limit_per_user") is not None:
        channel.slowmode = int(wanted["rate_limit_per_user"])
    world.gateway.show(channel)


async def _active(call: Call) -> Any:
    store = call.world.store
    guild = access.guild(store, call.id("guild"), call.bot)
    found = [one for one in store.guild_threads(guild.id) if may.may_view(store, one, call.bot)]
    return _listed(call, sorted(found, key=lambda one: -one.id))


async def _archived(call: Call) -> Any:
    store = call.world.store
    parent = access.channel(store, call.id("channel"), call.bot, may.READ_MESSAGE_HISTORY)
    kind = PUBLIC_THREAD if call.endpoint.path.endswith("public") else PRIVATE_THREAD
    found = [
        one
        for one in store.channels.values()
        if one.thread
        and one.thread.archived
        and one.parent == parent.id
        and one.type == kind
        and may.may_view(store, one, call.bot)
    ]
    found.sort(key=lambda one: -(one.thread.changed if one.thread else 0))
    return _listed(call, found[: call.query_int("limit", 50, 1, 100)]) | {"has_more": False}


def _listed(call: Call, found: list[Channel]) -> dict[str, Any]:
    shapes = call.world.shapes
    mine = [one for one in found if one.thread and call.bot in one.thread.members]
    return {
        "threads": [shapes.channel(one) for one in found],
        "members": [shapes.thread_member(one, call.bot) for one in mine],
    }


async def _members(call: Call) -> Any:
    channel, thread = _thread(call)
    return [call.world.shapes.thread_member(channel, one) for one in thread.members]


async def _member(call: Call) -> Any:
    channel, thread = _thread(call)
    if call.id("user") not in thread.members:
        raise ApiError(Problem.UNKNOWN_MEMBER)
    return call.world.shapes.thread_member(channel, call.id("user"))


async def _join(call: Call) -> Any:
    channel, thread = _thread(call)
    if thread.archived:
        raise ApiError(Problem.THREAD_ARCHIVED)
    user = call.id("user") if "user" in call.request.match_info else call.bot
    add(call.world, channel, user)


def add(world: World, channel: Channel, user: int) -> None:
    """Let somebody into a thread; only who may view its channel can be in it."""
    assert channel.thread is not None
    assert channel.guild is not None
    access.member(world.store, channel.guild, user)
    parent = world.store.channels.get(channel.parent or 0)
    if parent is None or not may.may_view(world.store, parent, user):
        raise ApiError(Problem.MISSING_ACCESS)
    if user in channel.thread.members:
        return
    channel.thread.members[user] = world.clock.time()
    _moved(world, channel, added=user)


async def _leave(call: Call) -> Any:
    world = call.world
    channel, thread = _thread(call)
    user = call.id("user") if "user" in call.request.match_info else call.bot
    if user not in (call.bot,) and thread.owner != call.bot:
        access.channel(world.store, channel.id, call.bot, may.MANAGE_THREADS)
    if thread.members.pop(user, None) is not None:
        _moved(world, channel, removed=user)


def _moved(world: World, channel: Channel, added: int | None = None, removed: int | None = None) -> None:
    """A bot hears when it comes or goes itself; of others only with the members intent (docs: events/gateway, Caveats)."""
    thread = channel.thread
    assert thread is not None
    data: dict[str, Any] = {"id": str(channel.id), "guild_id": str(channel.guild), "member_count": len(thread.members)}
    if added is not None:
        data["added_members"] = [world.shapes.thread_member(channel, added)]
    if removed is not None:
        data["removed_member_ids"] = [str(removed)]
    for session in list(world.gateway.sessions.values()):
        told = session.intents & gw.GUILD_MEMBERS or session.bot in (added, removed)
        if told and session.intents & gw.GUILDS and (channel.id in session.seen or session.bot == added):
            world.gateway.send(session, "THREAD_MEMBERS_UPDATE", data)
    world.gateway.show(channel)


def _thread(call: Call) -> tuple[Channel, Thread]:
    channel = access.channel(call.world.store, call.id("channel"), call.bot)
    if channel.thread is None:
        raise ApiError(Problem.WRONG_CHANNEL_TYPE)
    return channel, channel.thread


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise invalid("name", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
    return name


def _duration(minutes: Any) -> int:
    if int(minutes) not in DURATIONS:
        raise invalid("auto_archive_duration", "BASE_TYPE_CHOICES", f"Value must be one of {DURATIONS}.")
    return int(minutes)
