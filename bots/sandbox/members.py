"""Members of a guild: who they are, which roles they hold, coming and going (docs: resources/guild)."""

from typing import Any

from bots.sandbox import access
from bots.sandbox import gateway as gw
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem
from bots.sandbox.records import Member, Role
from bots.sandbox.rest import Api, Call
from bots.sandbox.roles import below
from bots.sandbox.world import World


def routes(api: Api) -> None:
    """Serve them."""
    api.add("GET", "/guilds/{guild}/members", _members)
    api.add("GET", "/guilds/{guild}/members/search", _search)
    api.add("GET", "/guilds/{guild}/members/{user}", _member)
    api.add("PATCH", "/guilds/{guild}/members/@me", _edit_member, "member")
    api.add("PATCH", "/guilds/{guild}/members/{user}", _edit_member, "member")
    api.add("DELETE", "/guilds/{guild}/members/{user}", _kick, "member")
    api.add("PUT", "/guilds/{guild}/members/{user}/roles/{role}", _give_role, "member")
    api.add("DELETE", "/guilds/{guild}/members/{user}/roles/{role}", _take_role, "member")


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
                below(world, guild, call.bot, role)
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
    below(world, guild, call.bot, role)
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
