"""What a caller may reach: the thing that was asked for, or Discord's refusal."""

from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem
from bots.sandbox.records import Channel, Guild, Member, Message, Role, User
from bots.sandbox.store import Store


def guild(store: Store, guild_id: int, user: int) -> Guild:
    """A guild they are in."""
    found = store.guilds.get(guild_id)
    if found is None or store.member(guild_id, user) is None:
        raise ApiError(Problem.UNKNOWN_GUILD)
    return found


def channel(store: Store, channel_id: int, user: int, needs: int = 0) -> Channel:
    """A channel they may view, where they hold what is needed."""
    found = store.channels.get(channel_id)
    if found is None:
        raise ApiError(Problem.UNKNOWN_CHANNEL)
    given = may.in_channel(store, found, user)
    if not given & may.VIEW_CHANNEL:
        raise ApiError(Problem.MISSING_ACCESS)
    if needs & ~given:
        raise ApiError(Problem.MISSING_PERMISSIONS)
    return found


def message(store: Store, channel_id: int, message_id: int) -> Message:
    """A message of a channel; ephemeral ones are nobody's but their webhook's."""
    found = store.messages.get(message_id)
    if found is None or found.channel != channel_id or found.only_for is not None:
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    return found


def in_guild(store: Store, place: Guild, user: int, needs: int) -> int:
    """What they may do in a guild, where they hold what is needed."""
    given = may.in_guild(store, place, user)
    if needs & ~given:
        raise ApiError(Problem.MISSING_PERMISSIONS)
    return given


def member(store: Store, guild_id: int, user: int) -> Member:
    """A member."""
    found = store.member(guild_id, user)
    if found is None:
        raise ApiError(Problem.UNKNOWN_MEMBER)
    return found


def role(store: Store, guild_id: int, role_id: int) -> Role:
    """A role of a guild."""
    found = store.roles.get(role_id)
    if found is None or found.guild != guild_id:
        raise ApiError(Problem.UNKNOWN_ROLE)
    return found


def user(store: Store, user_id: int) -> User:
    """A user."""
    found = store.users.get(user_id)
    if found is None:
        raise ApiError(Problem.UNKNOWN_USER)
    return found


def highest(store: Store, place: Guild, user_id: int) -> int:
    """The position of somebody's highest role; the owner stands above all (docs: topics/permissions, Hierarchy)."""
    if place.owner == user_id:
        return 1 << 31
    found = store.member(place.id, user_id)
    return max((store.roles[one].position for one in found.roles if one in store.roles), default=0) if found else 0
