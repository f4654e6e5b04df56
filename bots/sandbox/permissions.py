"""Who may do what: roles, overwrites and what follows from them (docs: topics/permissions)."""

from typing import Final

from bots.sandbox.records import DM, PRIVATE_THREAD, Channel, Guild
from bots.sandbox.store import Store

CREATE_INSTANT_INVITE: Final = 1 << 0
KICK_MEMBERS: Final = 1 << 1
ADMINISTRATOR: Final = 1 << 3
MANAGE_CHANNELS: Final = 1 << 4
MANAGE_GUILD: Final = 1 << 5
ADD_REACTIONS: Final = 1 << 6
VIEW_CHANNEL: Final = 1 << 10
SEND_MESSAGES: Final = 1 << 11
SEND_TTS_MESSAGES: Final = 1 << 12
MANAGE_MESSAGES: Final = 1 << 13
EMBED_LINKS: Final = 1 << 14
ATTACH_FILES: Final = 1 << 15
READ_MESSAGE_HISTORY: Final = 1 << 16
MENTION_EVERYONE: Final = 1 << 17
CHANGE_NICKNAME: Final = 1 << 26
MANAGE_NICKNAMES: Final = 1 << 27
MANAGE_ROLES: Final = 1 << 28
USE_APPLICATION_COMMANDS: Final = 1 << 31
MANAGE_THREADS: Final = 1 << 34
CREATE_PUBLIC_THREADS: Final = 1 << 35
CREATE_PRIVATE_THREADS: Final = 1 << 36
SEND_MESSAGES_IN_THREADS: Final = 1 << 38

ALL: Final = (1 << 53) - 1
"""Every bit there is so far; unknown ones are dropped, as Discord does."""

EVERYONE: Final = (
    VIEW_CHANNEL
    | SEND_MESSAGES
    | READ_MESSAGE_HISTORY
    | ATTACH_FILES
    | EMBED_LINKS
    | ADD_REACTIONS
    | CHANGE_NICKNAME
    | USE_APPLICATION_COMMANDS
    | CREATE_PUBLIC_THREADS
    | CREATE_PRIVATE_THREADS
    | SEND_MESSAGES_IN_THREADS
)
"""What @everyone may do in a new guild, as far as it matters here."""

_DM: Final = VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY | ATTACH_FILES | EMBED_LINKS | USE_APPLICATION_COMMANDS
_NEEDS_SENDING: Final = MENTION_EVERYONE | SEND_TTS_MESSAGES | ATTACH_FILES | EMBED_LINKS
"""Denied with SEND_MESSAGES (docs: topics/permissions, Implicit Permissions)."""


def in_guild(store: Store, guild: Guild, user: int) -> int:
    """What the roles alone give."""
    member = store.member(guild.id, user)
    if member is None:
        return 0
    if guild.owner == user:
        return ALL
    given = store.roles[guild.id].permissions
    for role in member.roles:
        given |= store.roles[role].permissions if role in store.roles else 0
    return ALL if given & ADMINISTRATOR else given


def in_channel(store: Store, channel: Channel, user: int) -> int:
    """What is left in a channel: @everyone's overwrite, then those of the roles together, then the member's own."""
    if channel.guild is None:
        return _DM if channel.type == DM and user in channel.recipients else 0
    guild = store.guilds[channel.guild]
    given = in_guild(store, guild, user)
    if given & ADMINISTRATOR:
        return ALL
    # Threads have no overwrites of their own (docs: topics/threads, Permissions).
    place = store.channels[channel.parent] if channel.thread and channel.parent in store.channels else channel
    given = _overwritten(store, place, user, given)
    if channel.type == PRIVATE_THREAD and channel.thread and user not in channel.thread.members:
        given &= ALL if given & MANAGE_THREADS else 0
    if not given & VIEW_CHANNEL:
        return 0
    sending = SEND_MESSAGES_IN_THREADS if channel.thread else SEND_MESSAGES
    return given if given & sending else given & ~_NEEDS_SENDING


def may_view(store: Store, channel: Channel, user: int) -> bool:
    """Whether the channel is there for them at all."""
    return bool(in_channel(store, channel, user) & VIEW_CHANNEL)


def _overwritten(store: Store, channel: Channel, user: int, given: int) -> int:
    assert channel.guild is not None
    member = store.member(channel.guild, user)
    if member is None:
        return 0
    by_id = {one.id: one for one in channel.overwrites}
    if everyone := by_id.get(channel.guild):
        given = given & ~everyone.deny | everyone.allow
    roles = [by_id[role] for role in member.roles if role in by_id]
    for one in roles:
        given &= ~one.deny
    for one in roles:
        given |= one.allow
    if own := by_id.get(user):
        given = given & ~own.deny | own.allow
    return given
