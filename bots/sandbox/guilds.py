"""Guilds, roles and members over REST (docs: resources/guild, resources/user)."""

from typing import Any, Final

from bots.sandbox import access
from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.records import Guild, Member, Role
from bots.sandbox.rest import Api, Call
from bots.sandbox.shapes import stamp
from bots.sandbox.world import World

MOST_ROLES: Final = 250


def routes(api: Api) -> None:
    """Serve them."""
    api.add("GET", "/gateway", _gateway, auth="none")
    api.add("GET", "/gateway/bot", _gateway_bot)
    api.add("GET", "/users/@me", _me, auth="any")
    api.add("GET", "/users/@me/guilds", _my_guilds, auth="any")
    api.add("GET", "/users/@me/guilds/{guild}/member", _my_member, auth="any")
    api.add("GET", "/oauth2/@me", _authorization, auth="any")
    api.add("GET", "/users/{user}", _user)
    api.add("GET", "/oauth2/applications/@me", _application)
    api.add("GET", "/applications/@me", _application)
    api.add("GET", "/guilds/{guild}", _guild)
    api.add("GET", "/guilds/{guild}/roles", _roles)
    api.add("POST", "/guilds/{guild}/roles", _create_role, "role")
    api.add("PATCH", "/guilds/{guild}/roles/{role}", _edit_role, "role")
    api.add("DELETE", "/guilds/{guild}/roles/{role}", _delete_role, "role")
    api.add("GET", "/guilds/{guild}/members", _members)
    api.add("GET", "/guilds/{guild}/members/search", _search)
    api.add("GET", "/guilds/{guild}/members/{user}", _member)
    api.add("PATCH", "/guilds/{guild}/members/@me", _edit_member, "member")
    api.add("PATCH", "/guilds/{guild}/members/{user}", _edit_member, "member")
    api.add("DELETE", "/guilds/{guild}/members/{user}", _kick, "member")
    api.add("PUT", "/guilds/{guild}/members/{user}/roles/{role}", _give_role, "member")
    api.add("DELETE", "/guilds/{guild}/members/{user}/roles/{role}", _take_role, "member")


async def _gateway(call: Call) -> Any:
    return {"url": call.world.gateway_url}


async def _gateway_bot(call: Call) -> Any:
    world, application = call.world, call.application
    assert application is not None
    now = world.clock.time()
    started = [one for one in application.identified if one > now - 86400]
    left = world.config.identify_limit - len(started)
    until = (min(started) + 86400 - now) if started else 0
    start = {"total": world.config.identify_limit, "remaining": left, "max_concurrency": 1}
    return {"url": world.gateway_url, "shards": 1, "session_start_limit": start | {"reset_after": int(until * 1000)}}


async def _me(call: Call) -> Any:
    world = call.world
    if call.application is not None:
        own = world.shapes.user(world.store.users[call.application.id])
        return own | {"mfa_enabled": False, "locale": "en-US", "verified": True, "email": None, "flags": 0}
    assert call.grant is not None
    if "identify" not in call.grant.scopes:
        raise ApiError(Problem.MISSING_SCOPE)
    own = world.shapes.user(world.store.users[call.grant.user])
    return own | {"mfa_enabled": False, "locale": "en-US", "flags": 0, "premium_type": 0}


async def _my_guilds(call: Call) -> Any:
    world = call.world
    if call.grant is not None and "guilds" not in call.grant.scopes:
        raise ApiError(Problem.MISSING_SCOPE)
    user = call.grant.user if call.grant is not None else call.bot
    mine = [one for one in world.store.guilds.values() if world.store.member(one.id, user)]
    return [
        {
            "id": str(one.id),
            "name": one.name,
            "icon": None,
            "owner": one.owner == user,
            "permissions": str(may.in_guild(world.store, one, user)),
            "features": [],
        }
        for one in mine
    ]


async def _my_member(call: Call) -> Any:
    """What a member's own token shows of them, roles among it (docs: resources/user, Get Current User Guild Member)."""
    if call.grant is None or "guilds.members.read" not in call.grant.scopes:
        raise ApiError(Problem.MISSING_SCOPE)
    guild = access.guild(call.world.store, call.id("guild"), call.grant.user)
    return call.world.shapes.member(access.member(call.world.store, guild.id, call.grant.user))


async def _authorization(call: Call) -> Any:
    """docs: topics/oauth2, Get Current Authorization Information."""
    if call.grant is None:
        raise ApiError(Problem.UNAUTHORIZED)
    shapes, store = call.world.shapes, call.world.store
    told: dict[str, Any] = {"application": shapes.application(store.applications[call.grant.application])}
    told |= {"scopes": call.grant.scopes, "expires": stamp(call.grant.expires)}
    if "identify" in call.grant.scopes:
        told["user"] = shapes.user(store.users[call.grant.user])
    return told


async def _user(call: Call) -> Any:
    return call.world.shapes.user(access.user(call.world.store, call.id("user")))


async def _application(call: Call) -> Any:
    assert call.application is not None
    return call.world.shapes.application(call.application)


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
    _below(call.world, guild, call.bot, role)
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
    _below(world, guild, call.bot, role)
    if role.bot is not None or role.id == guild.id:
        raise invalid("role_id", "INVALID_ROLE", "Invalid role")
    del store.roles[role.id]
    for member in store.members(guild.id):
        if role.id in member.roles:
            member.roles.remove(role.id)
    data = {"guild_id": str(guild.id), "role_id": str(role.id)}
    world.gateway.to_guild(guild.id, gw.GUILDS, "GUILD_ROLE_DELETE", data)
    world.gateway.reconsider(guild.id)


def _below(world: World, guild: Guild, actor: int, role: Role) -> None:
    if access.highest(world.store, guild, actor) <= role.position:
        raise ApiError(Problem.MISSING_PERMISSIONS)


async def _members(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    assert call.application is not None
    if not call.application.intents & gw.GUILD_MEMBERS:
        raise ApiError(Problem.MISSING_ACCESS)
    limit = call.query_int("limit", 1, 1, 1000)
    after = call.query_id("after") or 0
    found = [one for one in call.world.store.members(guild.id) if one.user > after]
    return [call.world.shapes.member(one) for one in found[:limit]]


async def _search(call: Call) -> Any:
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    query = call.request.query.get("query", "").lower()
    limit = call.query_int("limit", 1, 1, 1000)
    found = [one for one in world.store.members(guild.id) if world.store.users[one.user].name.lower().startswith(query)]
    return [world.shapes.member(one) for one in found[:limit]]


async def _member(call: Call) -> Any:
    guild = access.guild(call.world.store, call.id("guild"), call.bot)
    return call.world.shapes.member(access.member(call.world.store, guild.id, call.id("user")))


async def _edit_member(call: Call) -> Any:
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    user = call.id("user") if "user" in call.request.match_info else call.bot
    member = access.member(world.store, guild.id, user)
    wanted = await call.json()
    if "nick" in wanted:
        needs = may.CHANGE_NICKNAME if user == call.bot else may.MANAGE_NICKNAMES
        access.in_guild(world.store, guild, call.bot, needs)
        member.nick = wanted["nick"] or None
    if wanted.get("roles") is not None:
        access.in_guild(world.store, guild, call.bot, may.MANAGE_ROLES)
        roles = [access.role(world.store, guild.id, int(one)) for one in wanted["roles"]]
        for role in roles:
            if role.id not in member.roles:
                _below(world, guild, call.bot, role)
        member.roles = [one.id for one in roles]
    member_changed(world, member)
    return world.shapes.member(member)


def member_changed(world: World, member: Member) -> None:
    """Tell who listens; a bot hears of itself without the intent (docs: events/gateway, Caveats)."""
    data = world.shapes.member(member) | {"guild_id": str(member.guild)}
    world.gateway.to_guild(member.guild, gw.GUILD_MEMBERS, "GUILD_MEMBER_UPDATE", data)
    for session in list(world.gateway.sessions.values()):
        if session.bot == member.user and not session.intents & gw.GUILD_MEMBERS:
            world.gateway.send(session, "GUILD_MEMBER_UPDATE", data)
    world.gateway.reconsider(member.guild)


async def _kick(call: Call) -> Any:
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    access.in_guild(world.store, guild, call.bot, may.KICK_MEMBERS)
    member = access.member(world.store, guild.id, call.id("user"))
    if access.highest(world.store, guild, call.bot) <= access.highest(world.store, guild, member.user):
        raise ApiError(Problem.MISSING_PERMISSIONS)
    remove_member(world, member)


def add_member(world: World, member: Member) -> None:
    """Let somebody in; a bot that is connected learns of the guild."""
    world.store.add_member(member)
    data = world.shapes.member(member) | {"guild_id": str(member.guild)}
    world.gateway.to_guild(member.guild, gw.GUILD_MEMBERS, "GUILD_MEMBER_ADD", data)
    for session in list(world.gateway.sessions.values()):
        if session.bot == member.user and session.intents & gw.GUILDS:
            world.gateway.welcome(session, member.guild)


def remove_member(world: World, member: Member) -> None:
    """Show somebody out; a bot learns that the guild is gone."""
    world.store.remove_member(member)
    data = {"guild_id": str(member.guild), "user": world.shapes.user(world.store.users[member.user])}
    world.gateway.to_guild(member.guild, gw.GUILD_MEMBERS, "GUILD_MEMBER_REMOVE", data)
    for session in list(world.gateway.sessions.values()):
        if session.bot == member.user:
            session.seen.clear()
            world.gateway.send(session, "GUILD_DELETE", {"id": str(member.guild)})


async def _give_role(call: Call) -> Any:
    await _change_role(call, give=True)


async def _take_role(call: Call) -> Any:
    await _change_role(call, give=False)


async def _change_role(call: Call, *, give: bool) -> None:
    world = call.world
    guild = access.guild(world.store, call.id("guild"), call.bot)
    access.in_guild(world.store, guild, call.bot, may.MANAGE_ROLES)
    member = access.member(world.store, guild.id, call.id("user"))
    role = access.role(world.store, guild.id, call.id("role"))
    _below(world, guild, call.bot, role)
    set_role(world, member, role, give=give)


def set_role(world: World, member: Member, role: Role, *, give: bool) -> None:
    """Give or take a role."""
    if give == (role.id in member.roles):
        return
    if give:
        member.roles.append(role.id)
    else:
        member.roles.remove(role.id)
    member_changed(world, member)
