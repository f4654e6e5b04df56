"""The way of a request: ban, fault, token, limits, handler, answer; all in Discord's form (docs: reference, topics/rate-limits)."""

import asyncio
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web

from bots.sandbox.errors import ApiError, Problem, invalid
from bots.sandbox.faults import Fault, Kind
from bots.sandbox.ratelimits import Verdict
from bots.sandbox.records import Application, Grant
from bots.sandbox.world import WORLD, World

logger = logging.getLogger(__name__)

PREFIX: Final = r"/api/{version:v9|v10}"
VIA: Final = {"Via": "1.1 sandbox"}
"""discord.py takes a 429 without it for a ban by Cloudflare."""
INVALID: Final = frozenset({401, 403, 429})
CLOUDFLARE: Final = "error code: 1015"
"""The body of such a ban: no JSON."""


class Answer(NamedTuple):
    """A status other than 200, with its body."""

    status: int
    body: Any


class Upload(NamedTuple):
    """A file of a multipart request."""

    filename: str
    content_type: str
    content: bytes


Handler = Callable[["Call"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route with what is known about it."""

    method: str
    path: str
    handler: Handler
    bucket: str
    auth: str = "bot"
    """bot, any (a bot or a member's token) or none."""


class Call:
    """One request, as handlers see it."""

    def __init__(self, world: World, request: web.Request, endpoint: Endpoint) -> None:
        self.world = world
        self.request = request
        self.endpoint = endpoint
        self.application: Application | None = None
        self.grant: Grant | None = None
        self._body: Any = None

    @property
    def bot(self) -> int:
        """The bot that asks."""
        if self.application is None:
            raise ApiError(Problem.UNAUTHORIZED)
        return self.application.id

    def id(self, name: str) -> int:
        """An id in the path."""
        value = self.request.match_info[name]
        if not value.isdigit():
            raise invalid(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
        return int(value)

    def query_id(self, name: str) -> int | None:
        """An id in the query."""
        value = self.request.query.get(name)
        if value is not None and not value.isdigit():
            raise invalid(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not snowflake.')
        return None if value is None else int(value)

    def query_int(self, name: str, default: int, least: int, most: int) -> int:
        """A number in the query, within bounds."""
        value = self.request.query.get(name, str(default))
        if not re.fullmatch(r"-?\d+", value):
            raise invalid(name, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
        if not least <= int(value) <= most:
            code, side = ("NUMBER_TYPE_MIN", "greater") if int(value) < least else ("NUMBER_TYPE_MAX", "less")
            bound = least if int(value) < least else most
            raise invalid(name, code, f"int value should be {side} than or equal to {bound}.")
        return int(value)

    async def json(self) -> dict[str, Any]:
        """The body, an object."""
        body = await self.any_json()
        if not isinstance(body, dict):
            raise invalid("_errors", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
        return body

    async def any_json(self) -> Any:
        """The body, whatever it is."""
        return self._parsed(await self.request.text())

    def _parsed(self, text: str) -> Any:
        self.world.journal.keep(self.endpoint.path, text)
        try:
            return json.loads(text) if text else {}
        except ValueError:
            raise ApiError(Problem.INVALID_JSON) from None

    async def form(self) -> tuple[dict[str, Any], dict[int, Upload]]:
        """The body of a message: JSON, or multipart with payload_json and files[n] (docs: reference, Uploading Files)."""
        if not self.request.content_type.startswith("multipart/"):
            return await self.json(), {}
        payload: dict[str, Any] = {}
        files: dict[int, Upload] = {}
        try:
            parts = await self.request.post()
        except web.HTTPRequestEntityTooLarge:
            raise ApiError(Problem.TOO_LARGE) from None
        for name, part in parts.items():
            if isinstance(part, web.FileField):
                number = re.fullmatch(r"files?\[(\d+)\]", name)
                kind = part.content_type
                files[int(number[1]) if number else len(files)] = Upload(part.filename, kind, part.file.read())
            elif name == "payload_json":
                payload = self._parsed(part if isinstance(part, str) else bytes(part).decode())
        return payload, files


class Api:
    """Collects the routes of all nouns and serves them."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def add(self, method: str, path: str, handler: Handler, bucket: str = "", auth: str = "bot") -> None:
        """Serve a route under /api/v10; its bucket is its own unless it shares one by name."""
        endpoint = Endpoint(method, path, handler, bucket or f"{method} {path}", auth)

        async def serve(request: web.Request) -> web.StreamResponse:
            return await _serve(request.app[WORLD], request, endpoint)

        self._app.router.add_route(method, PREFIX + path, serve)


async def _serve(world: World, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
    response = await _answered(world, request, endpoint)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    application = world.by_token(token) if kind == "Bot" else None
    world.journal.count(application.name if application else "", endpoint.method, endpoint.path, response.status)
    return response


async def _answered(world: World, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
    address = request.remote or ""
    if (left := world.limits.banned(address)) is not None:
        headers = {"Retry-After": str(math.ceil(left))}
        return web.Response(status=429, text=CLOUDFLARE, headers=headers)
    call = Call(world, request, endpoint)
    verdict = Verdict({})
    try:
        _authenticate(call)
        _storm(call)
        verdict = _limit(call)
        await _hinder(call)
        answer = await endpoint.handler(call)
        response = _answer(answer)
        if endpoint.method != "GET":
            world.store.changed()
            spoil = _fault(call, Kind.FAIL_AFTER), _fault(call, Kind.RESET_AFTER)
            if spoil[1] is not None:
                return _reset(request)
            if spoil[0] is not None:
                return web.Response(status=spoil[0].order.status, text="upstream connect error")
    except ApiError as error:
        response = _json(error.status, error.body())
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(math.ceil(error.retry_after))
            response.headers["X-RateLimit-Scope"] = "user"
    except _Answered as done:
        response = done.response
    except web.HTTPRequestEntityTooLarge:
        response = _json(413, ApiError(Problem.TOO_LARGE).body())
    except (KeyError, ValueError, TypeError, AttributeError):
        # A body of the wrong form, most likely; the log says where, in case it is the sandbox that is wrong.
        logger.exception("%s %s could not be understood", endpoint.method, endpoint.path)
        response = _json(400, ApiError(Problem.INVALID_FORM).body())
    response.headers.update(VIA)
    for name, value in verdict.headers.items():
        response.headers.setdefault(name, value)
    if response.status in INVALID and response.headers.get("X-RateLimit-Scope") != "shared":
        world.limits.count_invalid(address)
    return response


class _Answered(Exception):
    """The answer is made before the handler is asked."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__()
        self.response = response


def _authenticate(call: Call) -> None:
    kind, _, token = call.request.headers.get("Authorization", "").partition(" ")
    world = call.world
    if kind == "Bot":
        call.application = world.by_token(token)
    elif kind == "Bearer":
        now = world.clock.time()
        call.grant = next((one for one in world.store.grants if one.access == token and one.expires > now), None)
    match call.endpoint.auth:
        case "bot" if call.application is None:
            raise ApiError(Problem.UNAUTHORIZED)
        case "any" if call.application is None and call.grant is None:
            raise ApiError(Problem.UNAUTHORIZED)


def _who(call: Call) -> str:
    if call.application is not None:
        return f"bot {call.application.id}"
    return f"user {call.grant.user}" if call.grant is not None else f"address {call.request.remote}"


def _resource(call: Call) -> str:
    """The top-level resource in the path: channel, guild or webhook (docs: topics/rate-limits)."""
    found = call.request.match_info
    if "webhook" in found:
        # A webhook counts with its token: each interaction has a bucket of its own.
        return f"webhook {found['webhook']} {found['token']}"
    return next((f"{name} {found[name]}" for name in ("channel", "guild") if name in found), "")


def _channel(call: Call) -> int | None:
    value = call.request.match_info.get("channel", "")
    return int(value) if value.isdigit() else None


def _fault(call: Call, kind: Kind) -> Fault | None:
    bot = call.application.id if call.application else None
    if bot is None and (token := call.request.match_info.get("token")):
        # Interactions carry no bot token; whose they are, they know themselves.
        interaction = call.world.desk.by_token(token)
        bot = interaction.application if interaction else None
    return call.world.faults.request(kind, bot, call.endpoint.method, call.endpoint.path, _channel(call))


def _storm(call: Call) -> None:
    fault = _fault(call, Kind.STORM)
    if fault is None:
        return
    left = fault.until - call.world.clock.time() if fault.until is not None else fault.order.seconds
    wait = fault.order.retry_after if fault.order.retry_after is not None else max(0.001, left)
    raise _Answered(_too_many(wait, fault.order.scope, {}))


def _limit(call: Call) -> Verdict:
    who = _who(call)
    if not call.endpoint.path.startswith(("/interactions", "/webhooks")):
        # Interactions stand outside the global limit (docs: topics/rate-limits, Global Rate Limit).
        verdict = call.world.limits.take_global(who)
        if verdict.retry_after is not None:
            raise _Answered(_too_many(verdict.retry_after, "global", {}))
    verdict = call.world.limits.take(who, call.endpoint.bucket, _resource(call))
    if verdict.retry_after is not None:
        raise _Answered(_too_many(verdict.retry_after, "user", verdict.headers))
    return verdict


def _too_many(wait: float, scope: str, headers: dict[str, str]) -> web.Response:
    shared = scope == "shared"
    message = "The resource is being rate limited." if shared else "You are being rate limited."
    body = {"message": message, "retry_after": math.ceil(wait * 1000) / 1000, "global": scope == "global"}
    response = _json(429, body)
    response.headers.update(headers | {"Retry-After": str(math.ceil(wait)), "X-RateLimit-Scope": scope})
    if scope == "global":
        response.headers["X-RateLimit-Global"] = "true"
    return response


async def _hinder(call: Call) -> None:
    if slow := _fault(call, Kind.SLOW):
        await asyncio.sleep(slow.order.seconds)
    if fail := _fault(call, Kind.FAIL_BEFORE):
        raise _Answered(web.Response(status=fail.order.status, text="upstream connect error"))
    if _fault(call, Kind.RESET_BEFORE):
        raise _Answered(_reset(call.request))


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _answer(answer: Any) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    if isinstance(answer, Answer):
        return _json(answer.status, answer.body)
    return web.Response(status=204) if answer is None else _json(200, answer)


def _json(status: int, body: Any) -> web.Response:
    # Without a charset: discord.py compares the header whole.
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
