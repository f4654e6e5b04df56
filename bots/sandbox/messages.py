"""Messages: posting, editing, deleting, reading back (docs: resources/message)."""

from typing import Any, Final

from bots.sandbox import access, attachments, mentions
from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import CATEGORY, EPHEMERAL, LOADING, Channel, Message
from bots.sandbox.rest import Api, Call, Upload
from bots.sandbox.snowflake import at, seconds_of
from bots.sandbox.world import World

CONTENT: Final = 2000
NONCE: Final = 25
EMBEDS: Final = 10
EMBED_CHARACTERS: Final = 6000
NONCE_SECONDS: Final = 300.0
"""How long an enforced nonce is remembered: "the past few minutes" (docs: Create Message)."""
OLD_SECONDS: Final = 3600.0
"""Messages older than this have an edit limit of their own (docs: opcodes-and-status-codes, 30046)."""
BULK_SECONDS: Final = 14 * 24 * 3600.0
SETTABLE_FLAGS: Final = 1 << 2 | EPHEMERAL | 1 << 12 | 1 << 15


def routes(api: Api) -> None:
    """Serve them."""
    api.add("POST", "/channels/{channel}/messages", _create, "message create")
    api.add("GET", "/channels/{channel}/messages", _history, "message read")
    api.add("POST", "/channels/{channel}/messages/bulk-delete", _bulk_delete, "message delete bulk")
    api.add("GET", "/channels/{channel}/messages/{message}", _get, "message read")
    api.add("PATCH", "/channels/{channel}/messages/{message}", _edit, "message edit")
    api.add("DELETE", "/channels/{channel}/messages/{message}", _delete, "message delete")
    api.add("POST", "/channels/{channel}/typing", _typing, "typing")


async def _create(call: Call) -> Any:
    payload, files = await call.form()
    channel = access.channel(call.world.store, call.id("channel"), call.bot)
    message = post(call.world, channel, call.bot, payload, files)
    return call.world.shapes.message(message)


def post(world: World, channel: Channel, author: int, payload: dict[str, Any], files: dict[int, Upload]) -> Message:
    """Say something as a bot or a member, within what they may do there."""
    store = world.store
    if channel.type == CATEGORY:
        raise ApiError(Problem.WRONG_CHANNEL_TYPE)
    given = may.in_channel(store, channel, author)
    sending = may.SEND_MESSAGES_IN_THREADS if channel.thread else may.SEND_MESSAGES
    if not given & may.VIEW_CHANNEL:
        raise ApiError(Problem.MISSING_ACCESS)
    needs = sending | (may.ATTACH_FILES if files else 0) | (may.SEND_TTS_MESSAGES if payload.get("tts") else 0)
    if needs & ~given:
        raise ApiError(Problem.MISSING_PERMISSIONS)
    _open_thread(world, channel, author, given)
    nonce = _nonce(payload)
    if nonce is not None and payload.get("enforce_nonce") and (known := _known(world, author, nonce)):
        return known
    message = compose(world, channel, author, payload, files, everyone=bool(given & may.MENTION_EVERYONE))
    message.nonce, message.enforced = nonce, bool(payload.get("enforce_nonce"))
    if payload.get("message_reference"):
        _refer(world, channel, message, payload, given)
    publish(world, message)
    return message


def compose(
    world: World,
    channel: Channel,
    author: int,
    payload: dict[str, Any],
    files: dict[int, Upload],
    *,
    everyone: bool,
    empty: bool = False,
) -> Message:
    """A message made of a payload, not yet kept or told."""
    content = _content(payload)
    message = Message(world.new_id(), channel.id, author, content)
    message.tts = bool(payload.get("tts"))
    message.flags = int(payload.get("flags") or 0) & SETTABLE_FLAGS
    message.embeds = _embeds(payload)
    message.components = list(payload.get("components") or [])
    message.attachments = attachments.store(world, channel.id, payload.get("attachments"), files)
    if not (
        content or message.embeds or message.attachments or message.components or payload.get("sticker_ids") or empty
    ):
        raise ApiError(Problem.EMPTY_MESSAGE)
    replied = None
    if payload.get("message_reference"):
        target = world.store.messages.get(int(payload["message_reference"].get("message_id") or 0))
        replied = target.author if target else None
    _mention(world, channel, message, payload.get("allowed_mentions"), replied, everyone=everyone)
    return message


def publish(world: World, message: Message) -> None:
    """Keep a message and tell those who may see it."""
    world.store.add_message(message)
    channel = world.store.channels[message.channel]
    if channel.thread is not None and message.author not in channel.thread.members:
        # Who speaks in a thread is in it.
        channel.thread.members[message.author] = world.clock.time()
    world.gateway.message("MESSAGE_CREATE", message)


def change(
    world: World, message: Message, payload: dict[str, Any], files: dict[int, Upload], *, everyone: bool
) -> None:
    """Put other things into a message; what the payload does not name stays (docs: Edit Message)."""
    channel = world.store.channels[message.channel]
    content = _content(payload) if "content" in payload else message.content
    embeds = _embeds(payload) if "embeds" in payload else message.embeds
    kept = message.attachments
    if payload.get("attachments") is not None:
        wanted = {str(one.get("id")) for one in payload["attachments"]}
        kept = [one for one in kept if str(one.id) in wanted]
    components = list(payload.get("components") or []) if "components" in payload else message.components
    if not (content or embeds or kept or files or components):
        raise ApiError(Problem.EMPTY_MESSAGE)
    message.attachments = kept + attachments.store(world, channel.id, payload.get("attachments"), files)
    message.content, message.embeds, message.components = content, embeds, components
    _mention(world, channel, message, payload.get("allowed_mentions"), None, everyone=everyone)
    if payload.get("flags") is not None:
        message.flags = message.flags & (EPHEMERAL | LOADING) | int(payload["flags"]) & 1 << 2
    message.edited = world.clock.time()
    world.gateway.message("MESSAGE_UPDATE", message)


def _mention(
    world: World, channel: Channel, message: Message, allowed: Any, replied: int | None, *, everyone: bool
) -> None:
    found = mentions.find(world.store, channel.guild, message.content, allowed, replied, may_everyone=everyone)
    message.mentions, message.mention_roles, message.mention_everyone = found.users, found.roles, found.everyone


async def _history(call: Call) -> Any:
    """Empty without READ_MESSAGE_HISTORY (docs: Get Channel Messages)."""
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot)
    limit = call.query_int("limit", 50, 1, 100)
    ways = {name: call.query_id(name) for name in ("before", "after", "around")}
    if not may.in_channel(world.store, channel, call.bot) & may.READ_MESSAGE_HISTORY:
        return []
    return [_shape(call, one) for one in world.store.page(channel.id, limit, **ways)]


async def _get(call: Call) -> Any:
    channel = access.channel(call.world.store, call.id("channel"), call.bot, may.READ_MESSAGE_HISTORY)
    return _shape(call, access.message(call.world.store, channel.id, call.id("message")))


def _shape(call: Call, message: Message) -> dict[str, Any]:
    """Over REST the portal's switch decides about content, not the session's intents (docs: events/gateway, HTTP Restrictions)."""
    assert call.application is not None
    channel = call.world.store.channels[message.channel]
    content = bool(call.application.intents & gw.MESSAGE_CONTENT) or gw.reads(channel, message, call.bot)
    return call.world.shapes.message(message, content=content)


async def _edit(call: Call) -> Any:
    world = call.world
    payload, files = await call.form()
    channel = access.channel(world.store, call.id("channel"), call.bot)
    message = access.message(world.store, channel.id, call.id("message"))
    if message.author != call.bot:
        raise ApiError(Problem.NOT_YOURS)
    if world.clock.time() - seconds_of(message.id) > OLD_SECONDS and world.limits.on:
        verdict = world.limits.take(f"bot {call.bot}", "old edit", str(channel.id))
        if verdict.retry_after is not None:
            raise ApiError(Problem.OLD_EDITS, retry_after=verdict.retry_after)
    given = may.in_channel(world.store, channel, call.bot)
    change(world, message, payload, files, everyone=bool(given & may.MENTION_EVERYONE))
    return world.shapes.message(message)


async def _delete(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot)
    message = access.message(world.store, channel.id, call.id("message"))
    if message.author != call.bot:
        access.channel(world.store, channel.id, call.bot, may.MANAGE_MESSAGES)
    delete(world, message)


def delete(world: World, message: Message) -> None:
    """Remove a message and tell those who could see it."""
    channel = world.store.channels[message.channel]
    world.store.remove_message(message)
    data = {"id": str(message.id), "channel_id": str(channel.id)}
    if channel.guild is not None:
        data["guild_id"] = str(channel.guild)
    intent = gw.GUILD_MESSAGES if channel.guild else gw.DIRECT_MESSAGES
    if message.only_for is None:
        world.gateway.to_viewers(channel, intent, "MESSAGE_DELETE", lambda _: data)


async def _bulk_delete(call: Call) -> Any:
    world = call.world
    channel = access.channel(world.store, call.id("channel"), call.bot, may.MANAGE_MESSAGES)
    ids = {int(one) for one in (await call.json()).get("messages") or ()}
    if not 2 <= len(ids) <= 100:
        raise ApiError(Problem.BULK_COUNT)
    if min(ids) < at(world.clock.time() - BULK_SECONDS):
        raise ApiError(Problem.BULK_TOO_OLD)
    found = [one for one in (world.store.messages.get(each) for each in ids) if one and one.channel == channel.id]
    for one in found:
        world.store.remove_message(one)
    data = {"ids": [str(one.id) for one in found], "channel_id": str(channel.id), "guild_id": str(channel.guild)}
    world.gateway.to_viewers(channel, gw.GUILD_MESSAGES, "MESSAGE_DELETE_BULK", lambda _: data)


async def _typing(call: Call) -> Any:
    channel = access.channel(call.world.store, call.id("channel"), call.bot)
    typing(call.world, channel, call.bot)


def typing(world: World, channel: Channel, user: int) -> None:
    """Show that somebody is writing."""
    sending = may.SEND_MESSAGES_IN_THREADS if channel.thread else may.SEND_MESSAGES
    access.channel(world.store, channel.id, user, sending)
    data: dict[str, Any] = {"channel_id": str(channel.id), "user_id": str(user), "timestamp": int(world.clock.time())}
    if channel.guild is not None and (member := world.store.member(channel.guild, user)):
        data |= {"guild_id": str(channel.guild), "member": world.shapes.member(member)}
    intent = gw.GUILD_TYPING if channel.guild else gw.DIRECT_TYPING
    world.gateway.to_viewers(channel, intent, "TYPING_START", lambda _: data)


def _open_thread(world: World, channel: Channel, author: int, given: int) -> None:
    if channel.thread is None:
        return
    if channel.thread.locked and not given & may.MANAGE_THREADS:
        raise ApiError(Problem.THREAD_LOCKED)
    if channel.thread.archived:
        # Speaking in an archived thread opens it again (docs: topics/threads, Active & Archived Threads).
        channel.thread.archived, channel.thread.changed = False, world.clock.time()
        channel.thread.members.setdefault(author, world.clock.time())
        world.gateway.show(channel)


def _nonce(payload: dict[str, Any]) -> str | int | None:
    nonce = payload.get("nonce")
    if nonce is not None and len(str(nonce)) > NONCE:
        raise invalid("nonce", "NONCE_TYPE_TOO_LONG", f"Must be {NONCE} or fewer in length.")
    return nonce if nonce is None or isinstance(nonce, (str, int)) else str(nonce)


def _known(world: World, author: int, nonce: str | int) -> Message | None:
    """The message this nonce already made, by the same author, wherever (docs: Create Message, enforce_nonce)."""
    known = world.store.by_nonce(author, str(nonce))
    if known is None or known < at(world.clock.time() - NONCE_SECONDS):
        return None
    if known not in world.store.messages:
        # Discord looks the original up and does not find it (seen by users of discord.py).
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    return world.store.messages[known]


def _content(payload: dict[str, Any]) -> str:
    content = payload.get("content")
    if content is None:
        return ""
    if len(str(content)) > CONTENT:
        raise invalid("content", "BASE_TYPE_MAX_LENGTH", f"Must be {CONTENT} or fewer in length.")
    return str(content).strip()


def _embeds(payload: dict[str, Any]) -> list[dict[str, Any]]:
    embeds = list(payload.get("embeds") or [])
    if len(embeds) > EMBEDS:
        raise invalid("embeds", "BASE_TYPE_MAX_LENGTH", f"Must be {EMBEDS} or fewer in length.")
    if sum(_characters(one) for one in embeds) > EMBED_CHARACTERS:
        raise invalid("embeds", "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {EMBED_CHARACTERS}")
    return [one | {"type": one.get("type", "rich")} for one in embeds]


def _characters(embed: dict[str, Any]) -> int:
    texts = [embed.get("title"), embed.get("description")]
    texts += [(embed.get("footer") or {}).get("text"), (embed.get("author") or {}).get("name")]
    texts += [text for one in embed.get("fields") or () for text in (one.get("name"), one.get("value"))]
    return sum(len(text) for text in texts if text)


def _refer(world: World, channel: Channel, message: Message, payload: dict[str, Any], given: int) -> None:
    """A reply to a message of the same channel (docs: resources/message, Message Reference)."""
    wanted = payload["message_reference"]
    target = world.store.messages.get(int(wanted.get("message_id") or 0))
    if target is None or target.channel != channel.id:
        if wanted.get("fail_if_not_exists", True):
            raise invalid("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        return
    if not given & may.READ_MESSAGE_HISTORY:
        raise invalid(
            "message_reference",
            "REPLIES_CANNOT_REPLY_TO_UNREADABLE",
            "Cannot reply without permission to read message history",
        )
    message.type = 19
    message.reference = {"type": 0, "message_id": str(target.id), "channel_id": str(channel.id)}
    if channel.guild is not None:
        message.reference["guild_id"] = str(channel.guild)
