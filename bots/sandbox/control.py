"""The control API under /sandbox: be a person, change the guild, look at everything, make things go wrong."""

import asyncio
import contextlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from pydantic import ValidationError

from bots.sandbox import access, channels, commands, interactions, invoking, members, messages, roles, seed, threads
from bots.sandbox.config import Bot
from bots.sandbox.connection import Connection
from bots.sandbox.desk import ANSWER, Interaction
from bots.sandbox.dump import everything, view
from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.faults import Order
from bots.sandbox.records import PRIVATE_THREAD, Channel, Guild, Member
from bots.sandbox.rest import Upload
from bots.sandbox.world import WORLD, World

COOKIE: Final = "sandbox"
WAIT: Final = 25.0
"""Seconds a page waits for a change before it asks again."""

Body = dict[str, Any]
Action = Callable[[World, Body], Awaitable[Any]]


def routes(app: web.Application) -> None:
    """Serve it."""
    posts: dict[str, Action] = {
        "users": _user,
        "bots": _bot,
        "roles": _role,
        "roles/edit": _edit_role,
        "members/role": _member_role,
        "members/remove": _remove_member,
        "channels": _channel,
        "channels/edit": _edit_channel,
        "channels/delete": _delete_channel,
        "permissions": _permissions,
        "threads": _thread,
        "messages": _message,
        "messages/delete": _delete_message,
        "typing": _typing,
        "dm": _dm,
        "commands": _commands,
        "run": _run,
        "complete": _complete,
        "press": _press,
        "faults": _fault,
        "faults/clear": _clear,
        "gateway": _gateway,
        "clock": _clock,
        "limits": _limits,
    }
    for name, action in posts.items():
        app.router.add_post(f"/sandbox/{name}", _guarded(action))
    gets: dict[str, Action] = {
        "dump": _dump,
        "view": _view,
        "search": _search,
        "requests": _requests,
        "faults": _faults,
        "interaction": _interaction,
        "wait": _wait,
    }
    for name, action in gets.items():
        app.router.add_get(f"/sandbox/{name}", _guarded(action))


def _guarded(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        if not allowed(world, request):
            return web.json_response({"message": "Send the control token: Authorization: Bearer …"}, status=401)
        try:
            body = dict(request.query) if request.method == "GET" else await request.json()
            answer = await action(world, body)
        except ApiError as error:
            return web.json_response(error.body(), status=error.status)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return web.json_response({"message": f"{first['loc']}: {first['msg']}"}, status=400)
        except KeyError as error:
            return web.json_response({"message": f"{error.args[0]} is missing or unknown"}, status=400)
        except (ValueError, TypeError) as error:
            return web.json_response({"message": str(error)}, status=400)
        if request.method == "POST":
            world.store.changed()
        return web.json_response({} if answer is None else answer)

    return serve


def allowed(world: World, request: web.Request) -> bool:
    """Whether a request carries the control token: as Bearer, or as the page's cookie from the page itself."""
    expected = world.store.state.control_token
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind == "Bearer" and hmac.compare_digest(token.encode(), expected.encode()):
        return True
    cookie = request.cookies.get(COOKIE, "")
    own = request.method == "GET" or request.headers.get("Origin") == f"{request.scheme}://{request.host}"
    return own and hmac.compare_digest(cookie.encode(), expected.encode())


def _guild(world: World, body: Body) -> Guild:
    return world.store.guilds[int(body["guild"])] if "guild" in body else next(iter(world.store.guilds.values()))


def _who(world: World, body: Body, key: str = "member") -> int:
    """A user by id or name."""
    wanted = str(body[key])
    for one in world.store.users.values():
        if wanted in (str(one.id), one.name):
            return one.id
    raise ApiError(Problem.UNKNOWN_USER)


def _where(world: World, body: Body) -> Channel:
    """A channel by id, or a guild channel by name."""
    wanted = str(body["channel"])
    for one in world.store.channels.values():
        if wanted in (str(one.id), one.name):
            return one
    raise ApiError(Problem.UNKNOWN_CHANNEL)


async def _user(world: World, body: Body) -> Any:
    user = seed.add_user(world, body["name"])
    if body.get("join", True):
        members.add_member(world, Member(_guild(world, body).id, user.id, world.clock.time()))
    return world.shapes.user(user)


async def _bot(world: World, body: Body) -> Any:
    guild = _guild(world, body)
    application = seed.add_bot(
        world, guild, Bot.model_validate({key: value for key, value in body.items() if key != "guild"})
    )
    return {"id": str(application.id), "token": application.token, "secret": application.secret}


async def _role(world: World, body: Body) -> Any:
    return world.shapes.role(roles.create_role(world, _guild(world, body), None, body))


async def _edit_role(world: World, body: Body) -> Any:
    guild = _guild(world, body)
    role = access.role(world.store, guild.id, int(body["role"]))
    roles.edit_role(world, guild, role, None, {key: body[key] for key in body if key not in ("role", "guild")})
    return world.shapes.role(role)


async def _member_role(world: World, body: Body) -> None:
    guild = _guild(world, body)
    member = access.member(world.store, guild.id, _who(world, body))
    role = access.role(world.store, guild.id, int(body["role"]))
    members.set_role(world, member, role, give=body.get("give", True))


async def _remove_member(world: World, body: Body) -> None:
    guild = _guild(world, body)
    members.remove_member(world, access.member(world.store, guild.id, _who(world, body)))


async def _channel(world: World, body: Body) -> Any:
    return world.shapes.channel(channels.create(world, _guild(world, body), None, body))


async def _edit_channel(world: World, body: Body) -> Any:
    channel = _where(world, body)
    wanted = {key: value for key, value in body.items() if key not in ("channel", "guild")}
    channels.edit(world, _guild(world, body), channel, None, wanted)
    return world.shapes.channel(channel)


async def _delete_channel(world: World, body: Body) -> None:
    channels.delete(world, _where(world, body))


async def _permissions(world: World, body: Body) -> Any:
    """Give or take bits: of a bot's own role, or, with a channel, of its overwrite there."""
    user = _who(world, body)
    guild = _guild(world, body)
    take, give = int(body.get("take", 0)), int(body.get("give", 0))
    if "channel" not in body:
        held = [world.store.roles[one] for one in access.member(world.store, guild.id, user).roles]
        role = next((one for one in held if one.bot == user), None) or world.store.roles[guild.id]
        roles.edit_role(world, guild, role, None, {"permissions": role.permissions & ~take | give})
        return {"permissions": str(role.permissions)}
    channel = _where(world, body)
    own = next((one for one in channel.overwrites if one.id == user), None)
    allow, deny = (own.allow, own.deny) if own else (0, 0)
    new = {"id": user, "type": 1, "allow": allow & ~take | give, "deny": deny & ~give | take}
    others = [world.shapes.overwrite(one) for one in channel.overwrites if one.id != user]
    channels.edit(world, guild, channel, None, {"permission_overwrites": [*others, new]})
    return {"permissions": world.shapes.permissions(channel, user)}


async def _thread(world: World, body: Body) -> Any:
    kind = int(body.get("type", PRIVATE_THREAD))
    return world.shapes.channel(threads.create(world, _where(world, body), _who(world, body), kind, body))


async def _message(world: World, body: Body) -> Any:
    """Say something as a member; files are {name: text}."""
    texts = body.get("files") or {}
    files = {at: Upload(name, "text/plain", text.encode()) for at, (name, text) in enumerate(texts.items())}
    message = messages.post(world, _where(world, body), _who(world, body), body, files)
    return world.shapes.message(message)


async def _delete_message(world: World, body: Body) -> None:
    found = world.store.messages.get(int(body["message"]))
    if found is None:
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    messages.delete(world, found)


async def _typing(world: World, body: Body) -> None:
    messages.typing(world, _where(world, body), _who(world, body))


async def _dm(world: World, body: Body) -> Any:
    """The direct conversation of a member and a bot."""
    return world.shapes.channel(channels.direct(world, _who(world, body, "bot"), _who(world, body)))


async def _commands(world: World, body: Body) -> Any:
    from_here = commands.usable(world, _where(world, body), _who(world, body))
    return [world.shapes.command(one) for one in from_here]


async def _run(world: World, body: Body) -> Any:
    channel, user = _where(world, body), _who(world, body)
    interaction = invoking.run(world, channel, user, body["command"], body.get("options") or {}, _bot_of(world, body))
    return await _settled(world, body, interaction)


async def _complete(world: World, body: Body) -> Any:
    channel, user = _where(world, body), _who(world, body)
    focused, given = body["focused"], body.get("options") or {}
    if focused not in given:
        raise invalid("focused", "BASE_TYPE_REQUIRED", "Give the half-typed value among the options.")
    interaction = invoking.complete(world, channel, user, body["command"], given, focused, _bot_of(world, body))
    return await _settled(world, {"wait": True}, interaction)


async def _press(world: World, body: Body) -> Any:
    user = _who(world, body)
    message = world.store.messages.get(int(body["message"]))
    if message is None:
        raise ApiError(Problem.UNKNOWN_MESSAGE)
    channel = world.store.channels[message.channel]
    interaction = invoking.press(world, channel, user, message, body["custom_id"], body.get("values"))
    return await _settled(world, body, interaction)


def _bot_of(world: World, body: Body) -> int | None:
    return _who(world, body, "bot") if "bot" in body else None


async def _settled(world: World, body: Body, interaction: Interaction) -> Any:
    """Wait for the first response unless told not to; what became of it is in `state`."""
    if body.get("wait", True):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(interaction.done.wait(), ANSWER + 0.5)
    return interactions.described(world, interaction)


async def _interaction(world: World, body: Body) -> Any:
    found = world.desk.find(int(body["id"]))
    if found is None:
        raise ApiError(Problem.UNKNOWN_INTERACTION)
    return interactions.described(world, found)


async def _fault(world: World, body: Body) -> Any:
    if "bot" in body:
        body = body | {"bot": _who(world, body, "bot")}
    if "channel" in body:
        body = body | {"channel": _where(world, body).id}
    return {"id": world.faults.add(Order.model_validate(body)).id}


async def _faults(world: World, _: Body) -> Any:
    return world.faults.waiting()


async def _clear(world: World, _: Body) -> None:
    world.faults.clear()


async def _gateway(world: World, body: Body) -> Any:
    """Drop connections (with a code or abruptly), ask to reconnect, invalidate, or play dead."""
    bot = _bot_of(world, body)
    met: list[Connection] = []
    for one in list(world.connections):
        if one.session is None or bot not in (None, one.session.bot):
            continue
        met.append(one)
        match body["action"]:
            case "drop":
                await one.drop(None if body.get("abrupt") else int(body.get("code", 4000)))
            case "reconnect":
                one.reconnect()
            case "invalidate":
                one.invalidate(resumable=bool(body.get("resumable", False)))
            case "zombie":
                one.silent_until = asyncio.get_running_loop().time() + float(body.get("seconds", 60))
            case _:
                raise ValueError("action is one of drop, reconnect, invalidate, zombie")
    return {"connections": len(met)}


async def _clock(world: World, body: Body) -> Any:
    world.clock.advance(float(body["advance"]))
    return {"time": world.clock.time()}


async def _limits(world: World, body: Body) -> Any:
    """Turn limits on or off, forgive, or count invalid requests against an address."""
    if "on" in body:
        world.limits.on = bool(body["on"])
    if body.get("forgive"):
        world.limits.forgive()
    address = body.get("address", "127.0.0.1")
    world.limits.count_invalid(address, int(body.get("invalid", 0)))
    return {"on": world.limits.on, "invalid": world.limits.invalid(address), "banned": world.limits.banned(address)}


async def _dump(world: World, _: Body) -> Any:
    return everything(world)


async def _view(world: World, body: Body) -> Any:
    channel = int(body["channel"]) if body.get("channel") else None
    return view(world, _who(world, body), channel)


async def _search(world: World, body: Body) -> Any:
    if not body.get("q"):
        raise ValueError("q is what to look for")
    told = [
        {"kind": "event", "id": f"{session.id}/{number}"}
        for session in world.gateway.sessions.values()
        for number, text in session.events
        if body["q"] in text
    ]
    return {"hits": [*world.store.search(body["q"]), *world.journal.search(body["q"]), *told]}


async def _requests(world: World, body: Body) -> Any:
    """How often which route was answered how, since the start or the last look with reset=1."""
    told = world.journal.told()
    if body.get("reset"):
        world.journal.counts.clear()
    return told


async def _wait(world: World, body: Body) -> Any:
    """Come back when something is different from `since`, or after a while."""
    since = int(body.get("since", -1))
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT
    while world.store.changes == since and loop.time() < end:
        await asyncio.sleep(0.1)
    return {"version": world.store.changes}
