"""Guilds and their roles over REST (docs: resources/guild, topics/permissions)."""

from typing import Any, Final

from bots.sandbox import access
from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import Guild, Role
from bots.sandbox.rest import Api, Call
from bots.sandbox.world import World

MOST_ROLES: Final = 250


def routes(api: Api) -> None:
    """Serve them."""
    api.add("GET", "/guilds/{guild}", _guild)
    api.add("GET", "/guilds/{guild}/roles", _roles)
    api.add("POST", "/guilds/{guild}/roles", _create_role, "role")
    api.add("PATCH", "/guilds/{guild}/roles/{role}", _edit_role, "role")
    api.add("DELETE", "/guilds/{guild}/roles/{role}", _delete_role, "role")


async def _guild(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    shape = call.world.shapes.guild(guild)
    if call.request.query.get("with_counts") in ("1", "true"):
        shape |= {"approximate_member_count": len(call.world.store.members(guild.id)), "approximate_presence_count": 0}
    return shape


async def _roles(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    return [call.world.shapes.role(one) for one in call.world.store.guild_roles(guild.id)]


async def _create_role(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    access.in_guild(call.world.store, guild, call.bot, may.MANAGE_ROLES)
    role = create_role(call.world, guild, call.bot, await call.json())
    return call.world.shapes.role(role)


def create_role(world: World, guild: Guild, actor: int | None, wanted: dict[str, Any]) -> Role:
    """Make a role at the bottom; nobody gives more than they have, but for the control API (no actor)."""
    if len(world.store.guild_roles(guild.id)) >= MOST_ROLES:
        raise ApiError(Problem.ROLES_FULL)
    everyone = world.store.roles[guild.id]
    role = Role(world.new_id(), guild.id, "new role", everyone.permissions, position=1)
    for other in world.store.guild_roles(guild.id):
        other.position += other.position > 0
    _apply(world, guild, role, actor, wanted)
    world.store.roles[role.id] = role
    data = {"guild_id": str(guild.id), "role": world.shapes.role(role)}
    world.gateway.to_guild(guild.id, gw.GUILDS, "GUILD_ROLE_CREATE", data)
    return role


async def _edit_role(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    access.in_guild(call.world.store, guild, call.bot, may.MANAGE_ROLES)
    role = access.role(call.world.store, guild.id, call.id("role"))
    below(call.world, guild, call.bot, role)
    edit_role(call.world, guild, role, call.bot, await call.json())
    return call.world.shapes.role(role)


def edit_role(world: World, guild: Guild, role: Role, actor: int | None, wanted: dict[str, Any]) -> None:
    """Change a role; everyone whose view changes with it is told."""
    _apply(world, guild, role, actor, wanted)
    data = {"guild_id": str(guild.id), "role": world.shapes.role(role)}
    world.gateway.to_guild(guild.id, gw.GUILDS, "GUILD_ROLE_UPDATE", data)
    world.gateway.reconsider(guild.id)


def _apply(world: World, guild: Guild, role: Role, actor: int | None, wanted: dict[str, Any]) -> None:
    if wanted.get("permissions") is not None:
        given = int(wanted["permissions"]) & may.ALL
        if actor is not None and (given & ~role.permissions) & ~may.in_guild(world.store, guild, actor):
            raise ApiError(Problem.MISSING_PERMISSIONS)
        role.permissions = given
    if (name := wanted.get("name")) is not None:
        if not 1 <= len(name) <= 100:
            raise invalid("name", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.")
        role.name = name
    role.colour = int(wanted.get("color") or role.colour)
    role.hoist = bool(wanted.get("hoist", role.hoist))
    role.mentionable = bool(wanted.get("mentionable", role.mentionable))


async def _delete_role(call: Call) -> Any:
    world, store = call.world, call.world.store
    guild = access.guild(store, call.id("guild"), call.bot)
    access.in_guild(store, guild, call.bot, may.MANAGE_ROLES)
    role = access.role(store, guild.id, call.id("role"))
    below(world, guild, call.bot, role)
    if role.bot is not None or role.id == guild.id:
        raise invalid("role_id", "INVALID_ROLE", "Invalid role")
    del store.roles[role.id]
    for member in store.members(guild.id):
        if role.id in member.roles:
            member.roles.remove(role.id)
    data = {"guild_id": str(guild.id), "role_id": str(role.id)}
    world.gateway.to_guild(guild.id, gw.GUILDS, "GUILD_ROLE_DELETE", data)
    world.gateway.reconsider(guild.id)


def below(world: World, guild: Guild, actor: int, role: Role) -> None:
    """Refuse to touch a role that does not stand below one's own (docs: topics/permissions, Permission Hierarchy)."""
    if access.highest(world.store, guild, actor) <= role.position:
        raise ApiError(Problem.MISSING_PERMISSIONS)
