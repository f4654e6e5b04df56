"""Signing in, up and out, and what one may do with one's own account."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.services import accounts, invitations, logins
from app.services.person import Person
from app.services.rights import Right
from app.web import deps
from app.web.aside import HASHING
from app.web.deps import Known, address, agent, needs
from app.wire.errors import NotSignedIn
from app.wire.states import Door

router = APIRouter(prefix="/api", tags=["accounts"])

Own = Annotated[Person, needs(Right.OWN_ACCOUNT)]


class Credentials(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)


class SignUp(Credentials):
    """A new account, with the code of an invitation if there is one."""

    invitation: str | None = Field(default=None, max_length=64)


class Code(BaseModel):
    """The code of an invitation."""

    invitation: str = Field(max_length=64)


class NewPassword(BaseModel):
    """The password that was, and the one that shall be."""

    old: str = Field(default="", max_length=1024)
    new: str = Field(max_length=1024)


async def _enter(request: Request, token: str) -> Response:
    """Answer with a new login; the one this browser held before ends, so that nobody can have planted it."""
    if before := deps.login_cookie(request):
        await asyncio.to_thread(logins.end, before)
    response = Response(status_code=204)
    deps.set_cookie(response, token)
    return response


@router.get("/me")
async def me(who: Known) -> dict[str, Any]:
    """Return who is signed in."""
    return {"id": who.id, "name": who.name, "role": who.role, "guest": who.guest}


@router.post("/login", status_code=204)
async def login(given: Credentials, request: Request) -> Response:
    """Sign in; the new login comes as a cookie."""
    token = await HASHING.run(accounts.sign_in, given.name, given.password, agent(request), address(request))
    return await _enter(request, token)


@router.post("/join", status_code=204)
async def join(given: SignUp, request: Request) -> Response:
    """Make an account and sign in to it; a guest keeps what they have."""
    guest = None
    with contextlib.suppress(NotSignedIn):
        guest = await deps.person(request)
    code, agent_, address_ = given.invitation, agent(request), address(request)
    token = await HASHING.run(invitations.join, code, given.name, given.password, agent_, address_, guest)
    return await _enter(request, token)


@router.post("/invitations/look")
async def look(given: Code, request: Request) -> dict[str, Any]:
    """Say what an invitation is for."""
    found = await asyncio.to_thread(invitations.look, given.invitation, address(request))
    return {"role": found.role, "made_by": found.made_by, "expires_at": found.expires.isoformat()}


@router.post("/logout", status_code=204)
async def logout(request: Request) -> Response:
    """End the login that this browser holds."""
    if token := deps.login_cookie(request):
        await asyncio.to_thread(logins.end, token)
    return _leave()


@router.post("/account/password", status_code=204)
async def change_password(given: NewPassword, request: Request, who: Annotated[Person, needs(Right.LINK)]) -> Response:
    """Give oneself another password; one stays signed in here, and nowhere else."""
    token = await HASHING.run(
        accounts.change_password, who, given.old, given.new, agent(request), address(request)
    )
    return await _enter(request, token)


@router.get("/account/logins")
async def list_logins(who: Own) -> dict[str, Any]:
    """Return where one is signed in."""
    found = await asyncio.to_thread(logins.listed, who.id)
    rows = [
        {"id": one.id, "device": one.device, "address": one.address, "how": one.how, "here": one.id == who.login}
        | {"since": one.since.isoformat(), "seen": one.seen.isoformat()}
        for one in found
    ]
    return {"logins": rows}


@router.delete("/account/logins/{login}", status_code=204)
async def end_login(login: str, who: Own) -> Response:
    """Sign out another browser, or this one."""
    await asyncio.to_thread(logins.end_one, login, who, Door.WEB)
    return _leave() if login == who.login else Response(status_code=204)


@router.delete("/account/logins", status_code=204)
async def end_logins(who: Own) -> Response:
    """Sign out everywhere, here included."""
    await asyncio.to_thread(logins.end_everywhere, who, Door.WEB)
    return _leave()


def _leave() -> Response:
    response = Response(status_code=204)
    deps.clear_cookie(response)
    return response
