"""The guild as a whole, for programs, and as one person sees it, for the page."""

from typing import Any, Final

from bots.sandbox import commands
from bots.sandbox import permissions as may
from bots.sandbox.records import DM, Channel, Message
from bots.sandbox.world import World

SHOWN: Final = 60
"""Messages of a channel that the page shows."""


def everything(world: World) -> dict[str, Any]:
    """All guilds, users, channels and messages, hidden and ephemeral ones too; tokens are left out."""
    store, shapes = world.store, world.shapes
    return {
        "version": store.changes,
        "guilds": [
            shapes.guild(one) | {"members": [shapes.member(each) for each in store.members(one.id)]}
            for one in store.guilds.values()
        ],
        "users": [shapes.user(one) for one in store.users.values()],
        "applications": [
            {"id": str(one.id), "name": one.name, "online": one.id in world.gateway.online()}
            for one in store.applications.values()
        ],
        "channels": [shapes.channel(one) for one in store.channels.values()],
        "messages": [_whole(world, one) for one in store.messages.values()],
        "commands": [shapes.command(one) for one in store.commands.values()],
        "sessions": [
            {
                "id": one.id,
                "bot": str(one.bot),
                "intents": one.intents,
                "sequence": one.sequence,
                "connected": one.link is not None,
            }
            for one in world.gateway.sessions.values()
        ],
    }


def _whole(world: World, message: Message) -> dict[str, Any]:
    return world.shapes.message(message) | {"only_for": str(message.only_for) if message.only_for else None}


def view(world: World, user: int, wanted: int | None) -> dict[str, Any]:
    """What one person sees: their channels, one of them open, who is there, what they may run."""
    store, shapes = world.store, world.shapes
    guild = next(one for one in store.guilds.values() if store.member(one.id, user))
    seen = [one for one in store.guild_channels(guild.id) if may.may_view(store, one, user)]
    seen += [one for one in store.guild_threads(guild.id) if may.may_view(store, one, user)]
    seen += [one for one in store.channels.values() if one.type == DM and user in one.recipients]
    channel = next((one for one in seen if one.id == wanted), None)
    if channel is None:
        channel = next((one for one in seen if one.type == 0), None)
    online = world.gateway.online()
    return {
        "version": store.changes,
        "guild": {"id": str(guild.id), "name": guild.name},
        "user": shapes.user(store.users[user]),
        "channels": [shapes.channel(one) | {"label": _label(world, one, user)} for one in seen],
        "channel": str(channel.id) if channel else None,
        "messages": _messages(world, channel, user) if channel else [],
        "members": [
            shapes.user(store.users[one.user]) | {"online": one.user in online or not store.users[one.user].bot}
            for one in store.members(guild.id)
        ],
        "commands": [shapes.command(one) for one in commands.usable(world, channel, user)] if channel else [],
        "may_send": bool(channel and may.in_channel(store, channel, user) & _sending(channel)),
    }


def _sending(channel: Channel) -> int:
    return may.SEND_MESSAGES_IN_THREADS if channel.thread else may.SEND_MESSAGES


def _label(world: World, channel: Channel, user: int) -> str:
    if channel.type != DM:
        return channel.name
    return ", ".join(world.store.users[one].name for one in channel.recipients if one != user)


def _messages(world: World, channel: Channel, user: int) -> list[dict[str, Any]]:
    store = world.store
    if not may.in_channel(store, channel, user) & may.READ_MESSAGE_HISTORY:
        return []
    shown = store.page(channel.id, SHOWN, None, None, None)
    shown += store.hidden(channel.id, user)
    return [_whole(world, one) for one in sorted(shown, key=lambda one: one.id)]
