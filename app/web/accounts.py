"""Signing in and out, and who one is."""

import asyncio
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.services import accounts
from app.web import deps
from app.web.deps import Known
from app.web.pages import address
from app.wire.errors import Busy

router = APIRouter(prefix="/api", tags=["accounts"])

_LOGINS: Final = CapacityLimiter(1)
"""Checking a password takes a core for a tenth of a second on purpose: a flood of tries must not take them all."""
WAITING_LOGINS: Final = 20
"""Sign-ins that may wait for their turn; whoever comes then is asked to come back."""


class Credentials(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)


@router.get("/me")
async def me(who: Known) -> dict[str, Any]:
    """Return who is signed in."""
    return {"id": who.id, "name": who.name, "role": who.role, "guest": who.guest}


@router.post("/login", status_code=204)
async def login(given: Credentials, request: Request) -> Response:
    """Sign in; the new login comes as a cookie."""
    agent = request.headers.get("user-agent", "")
    if _LOGINS.statistics().tasks_waiting >= WAITING_LOGINS:
        raise Busy("Too many people are signing in at once. Wait a moment and try again.")
    token = await to_thread.run_sync(
        accounts.sign_in, given.name, given.password, agent, address(request), limiter=_LOGINS
    )
    response = Response(status_code=204)
    deps.set_cookie(response, token)
    return response


@router.post("/logout", status_code=204)
async def logout(request: Request) -> Response:
    """End the login that this browser holds."""
    if token := request.cookies.get(deps.cookie_name()):
        await asyncio.to_thread(accounts.sign_out, token)
    response = Response(status_code=204)
    deps.clear_cookie(response)
    return response
