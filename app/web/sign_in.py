"""Signing in with Discord or an OpenID Connect provider: the way there, and the way back."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.core.config import settings
from app.services import identities, logins, providers, throttle
from app.services.person import Person
from app.services.rights import Right
from app.web import deps
from app.web.aside import ELSEWHERE
from app.web.deps import address, agent, needs
from app.web.pages import VERSION, templates
from app.web.security import secure
from app.wire import names
from app.wire.errors import BadInput, NotSignedIn

router = APIRouter(tags=["accounts"])


class Wish(BaseModel):
    """Where to go on afterwards, and with which invitation."""

    next: str | None = Field(default=None, max_length=2000)
    invitation: str | None = Field(default=None, max_length=64)


def _cookie() -> str:
    return "__Host-meatlizard-sign-in" if secure() else f"meatlizard-sign-in-{settings().port}"


def _back(request: Request, provider: str) -> str:
    base = settings().public_url.rstrip("/") or f"{request.url.scheme}://{request.headers['host']}"
    return f"{base}/sign-in/{provider}/callback"


def _go(*where: Any) -> tuple[str, str]:
    # Loaded here: OAuth and all that signs, 12 MB, for those who sign in elsewhere.
    from app.services import handshake

    return handshake.begin(*where)


def _come(*what: str) -> providers.Arrival:
    # Loaded here, as above.
    from app.services import handshake

    return handshake.finish(*what)


async def _leave(request: Request, response: Response, provider: str, wish: Wish, link: Person | None) -> dict[str, Any]:
    # A try like others: each is kept for a while, and asks the other place.
    await asyncio.to_thread(throttle.count, "", address(request))
    back = _back(request, provider)
    url, browser = await ELSEWHERE.run(_go, provider, back, wish.next, wish.invitation, link)
    # Lax, unlike the login's own cookie: it has to come along when the other place sends the browser back.
    response.set_cookie(
        _cookie(), browser, max_age=names.SIGN_IN_SECONDS, path="/", httponly=True, samesite="lax", secure=secure()
    )
    return {"url": url}


@router.post("/api/sign-in/{provider}")
async def begin(provider: str, wish: Wish, request: Request, response: Response) -> dict[str, Any]:
    """Return the address where one signs in."""
    return await _leave(request, response, provider, wish, None)


@router.post("/api/account/identities/{provider}")
async def link(
    provider: str, wish: Wish, request: Request, response: Response, who: Annotated[Person, needs(Right.LINK)]
) -> dict[str, Any]:
    """Return the address where one proves who one is there, to link it with one's account."""
    return await _leave(request, response, provider, wish, who)


@router.delete("/api/account/identities/{provider}", status_code=204)
async def unlink(provider: str, who: Annotated[Person, needs(Right.LINK)]) -> Response:
    """Take a link apart."""
    await asyncio.to_thread(identities.unlink, who, provider)
    return Response(status_code=204)


@router.get("/sign-in/{provider}/callback", include_in_schema=False)
async def callback(provider: str, request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """Take in who comes back."""
    if error or not code:
        raise BadInput("You did not sign in there. Begin again whenever you like.")
    browser = deps.cookie(request, _cookie()) or ""
    came = await ELSEWHERE.run(_come, provider, _back(request, provider), state, browser, code)
    token = await asyncio.to_thread(identities.sign_in, came, agent(request), address(request))
    if token and (before := deps.login_cookie(request)):
        with contextlib.suppress(NotSignedIn):
            await asyncio.to_thread(logins.end, before)
    # A page, and no redirect: the browser would not send a strict cookie along on a way that another site began.
    context = {"user": None, "version": VERSION, "next": came.purpose.next}
    response = templates.TemplateResponse(request, "arrived.html", context)
    response.delete_cookie(_cookie(), path="/", httponly=True, samesite="lax", secure=secure())
    if token:
        deps.set_cookie(response, token)
    return response
