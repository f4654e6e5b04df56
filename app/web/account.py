"""The account page: who one is here, and where one is signed in."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.core.config import settings
from app.services import accounts, erasure, identities, limits, logins, providers
from app.services.person import NOBODY_YET, Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs

router = APIRouter(include_in_schema=False)


@router.get("/account", response_class=HTMLResponse)
async def account_page(request: Request, who: Annotated[Person, needs(Right.OWN_ACCOUNT)]) -> Response:
    """Show one's account."""
    found = await asyncio.to_thread(logins.listed, who.id)
    linked = [] if who.guest else await asyncio.to_thread(identities.listed, who)
    context: dict[str, Any] = {
        "logins": found,
        "protected": not who.guest and await asyncio.to_thread(accounts.has_password, who),
        "sign_up": settings().sign_up,
        "more": {"linked": {one.provider: one.name for one in linked}, "offered": providers.offered()},
        "limits": await asyncio.to_thread(limits.left, who.id),
        "backup_days": erasure.remembered_days(),
        "kept": who.id != NOBODY_YET,
    }
    return panels.show(request, who, "account.html", **context)
