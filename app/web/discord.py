"""The page that links one's account with Discord, and its routes."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.core.config import settings
from app.services import links
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs
from app.wire.states import Door

router = APIRouter()
MayLink = Annotated[Person, needs(Right.LINK)]


@router.get("/discord", response_class=HTMLResponse, include_in_schema=False)
async def page(request: Request, who: MayLink) -> Response:
    """Show whether one is linked."""
    linked = await asyncio.to_thread(links.discord_of, who.id, own=True)
    own = linked is not None and await asyncio.to_thread(links.own, linked[0])
    name, minutes = linked and (linked[1] or "yourself"), links.CODE_MINUTES
    return panels.show(request, who, "discord.html", linked=name, own=own, connected=settings().discord, minutes=minutes)


@router.post("/api/link", tags=["accounts"])
async def code(who: MayLink) -> dict[str, Any]:
    """Return a one-time code for `/link`."""
    return {"secret": await asyncio.to_thread(links.code, who.id), "minutes": links.CODE_MINUTES}


@router.delete("/api/link", status_code=204, tags=["accounts"])
async def unlink(who: MayLink) -> Response:
    """Take the link apart."""
    await asyncio.to_thread(links.unlink_account, who.id, Door.WEB)
    return Response(status_code=204)
