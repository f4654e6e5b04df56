"""What every answer carries and every request must: headers, believed hosts, own origin, bounded size."""

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config import settings
from app.web import cors, openai_errors
from app.wire.errors import BadInput, MeatLizardError, NotAllowed, TooLarge

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types meatlizard"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
BODY_BYTES: Final = 1 << 20
"""Largest body of a REST request; prompts come by socket and have their own limit."""
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+)(?::\d{1,5})?")
"""The form of a Host header; read by hand, since urllib takes `[::1].evil.example` for `::1`."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def secure() -> bool:
    """Say whether people reach the page over TLS."""
    return settings().public_url.startswith("https://")


def fronted() -> bool:
    """Say whether people reach us only through something before us: all of them seem to be at the machine itself then.

    It speaks the TLS that we do not, or answers to a name while we listen on loopback alone.
    """
    public = urlsplit(settings().public_url)
    elsewhere = public.hostname is not None and public.hostname not in LOOPBACK
    return elsewhere and (public.scheme == "https" or settings().host in LOOPBACK)


def name_in(host: str) -> str:
    """Return the name or address in a Host header; empty where it has neither."""
    found = HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


def believed_host(host: str) -> bool:
    """Say whether a Host header names us; a foreign name that resolves to this machine (DNS rebinding) does not."""
    name = name_in(host)
    # Not empty: a host that is none would be the empty one that some set to listen everywhere.
    return bool(name) and (name in LOOPBACK or name in (settings().host, urlsplit(settings().public_url).hostname))


def own_origin(headers: Headers) -> bool:
    """Say whether a request comes from our own page; one without an Origin comes from no page at all."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    try:
        came = urlsplit(origin)
    except ValueError:  # Such as an address in brackets that is none.
        return False
    public = urlsplit(settings().public_url)
    if public.netloc and came.netloc == public.netloc:
        # Without TLS anybody on the way can be a page of that name, and some browsers send our cookie along with it.
        return came.scheme == public.scheme
    return came.scheme in ("http", "https") and came.netloc == headers.get("host")


def refusal(error: MeatLizardError, scope: Scope) -> JSONResponse:
    """Shape an error as the body that every route answers with; those below `/v1` have OpenAI's."""
    if f"{scope['path']}/".startswith(openai_errors.PREFIX):
        return openai_errors.refusal(error)
    response = JSONResponse({"error": {"code": error.code, "message": str(error)}}, error.status)
    if error.retry_seconds is not None:
        response.headers["retry-after"] = str(error.retry_seconds)
    return response


class Guard:
    """Refuses foreign hosts and origins and oversized bodies before any route sees them, and adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        error = self._objection(scope, headers)
        if scope["type"] == "websocket":
            if error:
                await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
                return
            await self._app(scope, receive, send)
            return

        allowed = cors.allowed(scope, headers)
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                found.update(allowed)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
                if secure():
                    found.setdefault("strict-transport-security", "max-age=31536000")
                # Modules import each other without a version in the name, so each is asked for anew; its ETag saves the rest.
                static = scope["path"].startswith("/static/")
                found.setdefault("cache-control", "no-cache" if static else "no-store")
            await send(message)

        if error:
            await refusal(error, scope)(scope, receive, send_with_headers)
            return
        if allowed and scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, send_with_headers)
            return
        await self._app(scope, _bounded(receive), send_with_headers)

    def _objection(self, scope: Scope, headers: Headers) -> MeatLizardError | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not believed_host(hosts[0]):  # Of two, a proxy before us may have looked at the other.
            return BadInput(
                "This address is not one of the platform's. Open the one it was set up with, or set MEATLIZARD_PUBLIC_URL."
            )
        # A token is proof enough: browsers never add one by themselves, unlike the password of a proxy before us.
        token = headers.get("authorization", "").lower().startswith("bearer ")
        foreign = not token and not own_origin(headers)
        if foreign and (scope["type"] == "websocket" or scope["method"] not in SAFE):
            return NotAllowed("This request came from another site's page and was refused.")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return TooLarge(BODY_BYTES)
        return None


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES:  # A body without a length, sent in chunks.
            raise TooLarge(BODY_BYTES)
        return message

    return receive_some
