"""Who is at the door: found from the cookie or the token of a request or socket."""

import asyncio
from functools import cache
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.responses import Response

from app.core.config import settings
from app.services import accounts, logins, tokens
from app.services.person import VISITOR, Person
from app.services.rights import Right, may
from app.web.security import LOOPBACK, SAFE, fronted, name_in, own_origin, secure
from app.wire.errors import NotAllowed, NotSignedIn

PROXY_HEADERS: Final = (
    *("forwarded", "via", "x-forwarded", "x-real-ip", "x-original-", "x-client-ip", "x-cluster-client-ip", "client-ip"),
    *("true-client-ip", "cf-", "fly-", "fastly-", "x-envoy-", "x-azure-", "tailscale-", "front-end-https"),
)
"""Any header that begins so means that somebody else passed the request on, and that the person may be anywhere."""
BEYOND_TOKEN: Final = "This token is not for that, though you may do it: sign in on the page, or make a token that opens more."


def cookie_name() -> str:
    """Return the login cookie's name; with the port, since cookies do not tell ports of one host apart."""
    return "__Host-meatlizard" if secure() else f"meatlizard-{settings().port}"


def set_cookie(response: Response, token: str) -> None:
    """Give a login to the browser."""
    response.set_cookie(
        cookie_name(),
        token,
        max_age=settings().login_days * 86400,
        path="/",
        httponly=True,
        samesite="strict",
        secure=secure(),
    )


def clear_cookie(response: Response) -> None:
    """Take a login away from the browser."""
    response.delete_cookie(cookie_name(), path="/", httponly=True, samesite="strict", secure=secure())


def cookie(connection: HTTPConnection, name: str) -> str | None:
    """Return what a browser brings under exactly this name, the last where it brings several.

    Read by hand: Starlette strips every space that Unicode knows from a name, also one that browsers hold for a part of it.
    So a neighbour on `*.example.org` could plant a login here under a name that is not yet `__Host-…` for the browser.
    """
    pairs = (one.partition("=") for line in connection.headers.getlist("cookie") for one in line.split(";"))
    found = [value.strip(" \t") for key, equals, value in pairs if equals and key.strip(" \t") == name]
    return found[-1] if found else None


def login_cookie(connection: HTTPConnection) -> str | None:
    """Return the login that a browser brings."""
    return cookie(connection, cookie_name())


async def person(connection: HTTPConnection) -> Person:
    """Return who is at the door; raise NotSignedIn where nobody known is.

    A guest of whom nothing is kept yet may look, and no more: see `arriving`.
    """
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise NotSignedIn
        return await asyncio.to_thread(tokens.holder, token.strip())
    if login := login_cookie(connection):
        return await asyncio.to_thread(logins.person, login)
    if not may_be_guest(connection):
        raise NotSignedIn
    if connection.scope.get("method", "GET") in SAFE:
        return VISITOR
    raise NotSignedIn


def _entitled(who: Person, right: Right) -> Person:
    if not who.may(right):
        raise NotAllowed(BEYOND_TOKEN if may(who.role, right) else None)
    return who


async def arriving(request: Request, response: Response) -> Person:
    """Return who is at the door, as `person` does; a guest who is about to keep something gets a login of their own."""
    try:
        who = await person(request)
    except NotSignedIn:
        if "authorization" in request.headers or not may_be_guest(request):
            raise
        token = await asyncio.to_thread(accounts.enter_as_guest, agent(request), address(request))
        set_cookie(response, token)
        return await asyncio.to_thread(logins.person, token)
    return _entitled(who, Right.CHAT)


arriving.right = Right.CHAT  # type: ignore[attr-defined]  # As `needs` marks its own.


def agent(connection: HTTPConnection) -> str:
    """Return what the browser says of itself."""
    return connection.headers.get("user-agent", "")


def address(connection: HTTPConnection) -> str:
    """Return where a request comes from: the last address that no proxy of ours has."""
    ours = {one.strip() for one in settings().proxies.split(",")}
    # All of its lines: some proxies add one of their own below what a client sent, and the last word is theirs.
    way = [one.strip() for one in ",".join(connection.headers.getlist("x-forwarded-for")).split(",")]
    here = connection.client.host if connection.client else ""
    while here in ours and way:
        here = way.pop()
    return here[:64]


def may_be_guest(connection: HTTPConnection) -> bool:
    """Say whether this is someone at the machine itself, where guests are let in; never through a proxy."""
    return settings().guests == "loopback" and local(connection)


def local(connection: HTTPConnection) -> bool:
    """Say whether this comes from the machine itself, and through no proxy, not even one that does not say so."""
    headers = connection.headers
    forwarded = any(name.startswith(PROXY_HEADERS) for name in headers)
    here = connection.client is not None and connection.client.host in LOOPBACK and name_in(headers.get("host", "")) in LOOPBACK
    return here and not forwarded and not fronted() and ("origin" not in headers or own_origin(headers))


@cache
def needs(right: Right) -> Any:
    """Return the dependency of a route that answers only to people who have a right.

    Written as `who: Annotated[Person, needs(Right.SEE_AUDIT)]`; it raises NotSignedIn or NotAllowed before the route runs.
    """

    async def entitled(connection: HTTPConnection) -> Person:
        return _entitled(await person(connection), right)

    entitled.right = right  # type: ignore[attr-defined]  # How the test of all routes finds out what each one needs.
    return Depends(entitled)


Known = Annotated[Person, needs(Right.CHAT)]
"""A route with this argument answers to everyone who is signed in, and to programs whose token is for chatting."""
