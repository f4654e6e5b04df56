"""The guild a sandbox begins with: its owner, a few members, a channel, and the two bots."""

import secrets
from typing import Final

from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.config import Bot
from bots.sandbox.records import CATEGORY, TEXT, Application, Channel, Guild, Member, Role, User
from bots.sandbox.world import World, new_token

INTENTS: Final = {
    "members": gw.GUILD_MEMBERS,
    "presences": gw.GUILD_PRESENCES,
    "message_content": gw.MESSAGE_CONTENT,
}


def begin(world: World) -> Guild:
    """Make what is missing; tokens that are given replace those of a former start."""
    store, config = world.store, world.config
    if not store.guilds:
        _guild(world)
    guild = next(iter(store.guilds.values()))
    for wanted in config.bots:
        known = next((one for one in store.applications.values() if one.name == wanted.name), None)
        if known is None:
            add_bot(world, guild, wanted)
            continue
        known.token = wanted.token or known.token
        known.secret = wanted.secret or known.secret
        known.redirects = wanted.redirects or known.redirects
    store.changed()
    return guild


def _guild(world: World) -> None:
    store, config = world.store, world.config
    owner = add_user(world, config.owner)
    guild = Guild(world.new_id(), config.guild, owner.id)
    store.guilds[guild.id] = guild
    store.roles[guild.id] = Role(guild.id, guild.id, "@everyone", may.EVERYONE, 0)
    store.add_member(Member(guild.id, owner.id, world.clock.time()))
    for name in config.members:
        store.add_member(Member(guild.id, add_user(world, name).id, world.clock.time()))
    category = Channel(world.new_id(), CATEGORY, guild.id, "Text Channels")
    general = Channel(world.new_id(), TEXT, guild.id, "general", category.id)
    store.channels.update({category.id: category, general.id: general})


def add_user(world: World, name: str) -> User:
    """A new person."""
    user = User(world.new_id(), name, display=name.capitalize())
    world.store.users[user.id] = user
    return user


def add_bot(world: World, guild: Guild, wanted: Bot) -> Application:
    """A new application, invited into the guild with a role of its own."""
    key = world.new_id()
    token, secret = wanted.token or new_token(key), wanted.secret or secrets.token_urlsafe(24)
    intents = sum({INTENTS[one] for one in wanted.intents})
    application = Application(key, wanted.name, token, secret, guild.owner, intents, list(wanted.redirects))
    store = world.store
    store.applications[key] = application
    store.users[key] = User(key, wanted.name, bot=True)
    for other in store.guild_roles(guild.id):
        other.position += other.position > 0
    role = Role(world.new_id(), guild.id, wanted.name, wanted.permissions & may.ALL, 1, bot=key)
    store.roles[role.id] = role
    store.add_member(Member(guild.id, key, world.clock.time(), [role.id]))
    return application
