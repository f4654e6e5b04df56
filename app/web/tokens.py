"""The panel of one's tokens: made and shown once, listed, revoked."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from app.services import tokens
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs
from app.wire.errors import NotAllowed
from app.wire.states import Door

router = APIRouter()

Owner = Annotated[Person, needs(Right.MANAGE_TOKENS)]
MAKERS_LOGIN: Final = "Tokens are made on the page or on the command line: a token makes no other token."


class NewToken(BaseModel):
    """What a token shall be called, what it opens, and for how long."""

    label: str = Field("", max_length=64)
    chat: bool = True
    read: bool = True
    admin: bool = False
    days: int | None = Field(None, ge=1, le=tokens.LONGEST_DAYS)


@router.get("/tokens", response_class=HTMLResponse, include_in_schema=False)
async def tokens_page(request: Request, who: Owner) -> Response:
    """Show one's tokens."""
    rows = [one for one in await asyncio.to_thread(tokens.listed, who.id) if one.stands]
    return panels.show(request, who, "tokens.html", rows=rows, base=str(request.base_url).rstrip("/"))


@router.get("/api/tokens", tags=["tokens"])
async def list_tokens(who: Owner) -> dict[str, Any]:
    """Return one's tokens, without what they are themselves."""
    return {"tokens": [_body(one) for one in await asyncio.to_thread(tokens.listed, who.id)]}


@router.post("/api/tokens", status_code=201, tags=["tokens"])
async def make_token(given: NewToken, who: Owner) -> dict[str, str]:
    """Make a token; it is shown this once."""
    if who.scopes is not None:
        raise NotAllowed(MAKERS_LOGIN)
    scopes = [name for name in ("chat", "read", "admin") if getattr(given, name)]
    return {"secret": await asyncio.to_thread(tokens.new, who.name, given.label, scopes, given.days, who.name, Door.WEB)}


@router.delete("/api/tokens/{token}", status_code=204, tags=["tokens"])
async def revoke_token(token: str, who: Owner) -> Response:
    """Revoke one of one's tokens."""
    await asyncio.to_thread(tokens.revoke, token, who.name, Door.WEB, who.id)
    return Response(status_code=204)


def _body(one: tokens.Shown) -> dict[str, Any]:
    times = {name: getattr(one, name) for name in ("created_at", "expires_at", "used_at", "revoked_at")}
    shown = {name: at.isoformat() if at else None for name, at in times.items()}
    return {"id": one.id, "name": one.name, "scopes": list(one.scopes), "unlimited": one.unlimited} | shown
