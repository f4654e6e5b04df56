"""Who is at the door: found from the cookie or the token of a request or socket."""

import asyncio
from functools import cache
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.responses import Response

from app.core.config import settings
from app.services import accounts, tokens
from app.services.accounts import Person
from app.services.rights import Right
from app.web.security import LOOPBACK, secure
from app.wire.errors import NotAllowed, NotSignedIn

PROXY_HEADERS: Final = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("x-client-ip", "true-client-ip", "cf-connecting-ip", "fly-client-ip", "fastly-client-ip"),
)
"""Any of these means that somebody else passed the request on, and that the person may be anywhere."""


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


async def person(connection: HTTPConnection) -> Person:
    """Return who is at the door; raise NotSignedIn where nobody known is."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return await asyncio.to_thread(tokens.holder, token.strip())
    cookie = connection.cookies.get(cookie_name())
    if not cookie:
        raise NotSignedIn
    return await asyncio.to_thread(accounts.by_login, cookie)


def may_be_guest(connection: HTTPConnection) -> bool:
    """Say whether this is someone at the machine itself, where guests are let in; never through a proxy."""
    return settings().guests == "loopback" and local(connection)


def local(connection: HTTPConnection) -> bool:
    """Say whether this comes from the machine itself, and through no proxy."""
    forwarded = any(name in connection.headers for name in PROXY_HEADERS)
    return connection.client is not None and connection.client.host in LOOPBACK and not forwarded


@cache
def needs(right: Right) -> Any:
    """Return the dependency of a route that answers only to people who have a right.

    Written as `who: Annotated[Person, needs(Right.SEE_AUDIT)]`; it raises NotSignedIn or NotAllowed before the route runs.
    """

    async def entitled(connection: HTTPConnection) -> Person:
        who = await person(connection)
        if not who.may(right):
            raise NotAllowed
        return who

    entitled.right = right  # type: ignore[attr-defined]  # How the test of all routes finds out what each one needs.
    return Depends(entitled)


Known = Annotated[Person, needs(Right.CHAT)]
"""A route with this argument answers to everyone who is signed in, and to programs whose token is for chatting."""
