"""Users, applications and where the gateway is (docs: resources/user, resources/application, events/gateway)."""

from typing import Any

from bots.sandbox import access
from bots.sandbox import permissions as may
from bots.sandbox.errors import ApiError, Problem
from bots.sandbox.rest import Api, Call
from bots.sandbox.shapes import stamp


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
