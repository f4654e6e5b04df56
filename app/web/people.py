"""The people panel: accounts, their roles, and invitations, for those who look after the platform."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from app.core.config import settings
from app.services import accounts, invitations
from app.services.person import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs
from app.wire.states import Door

router = APIRouter(tags=["people"])

Manager = Annotated[Person, needs(Right.MANAGE_PEOPLE)]
Host = Annotated[Person, needs(Right.INVITE)]


class Named(BaseModel):
    """An account, by its name."""

    name: str = Field(max_length=64)


class NewRole(Named):
    """Which role an account shall have."""

    role: str = Field(max_length=16)


class NewInvitation(BaseModel):
    """Who shall be let in, and for how long the door stands open."""

    role: str = Field(default="member", max_length=16)
    days: int = Field(default=7, ge=1, le=invitations.LONGEST_DAYS)
    note: str = Field(default="", max_length=64)


@router.get("/people", response_class=HTMLResponse, include_in_schema=False)
async def people_page(request: Request, who: Manager) -> Response:
    """Show the accounts and the invitations."""
    users = await asyncio.to_thread(accounts.users)
    invited = await asyncio.to_thread(invitations.listed)
    below = [role for role in accounts.ROLES if who.role == "owner" or accounts.HEIGHT[role] < accounts.HEIGHT[who.role]]
    return panels.show(request, who, "people.html", users=users, invited=invited, roles=below)


@router.post("/api/people/role", status_code=204)
async def set_role(given: NewRole, who: Manager) -> Response:
    """Give an account another role."""
    await asyncio.to_thread(accounts.set_role, given.name, given.role, who.name, Door.WEB, who)
    return Response(status_code=204)


@router.post("/api/people/disable", status_code=204)
async def disable(given: Named, who: Manager) -> Response:
    """Shut an account; all it has open ends at once."""
    await asyncio.to_thread(accounts.disable, given.name, who.name, Door.WEB, who)
    return Response(status_code=204)


@router.post("/api/people/enable", status_code=204)
async def enable(given: Named, who: Manager) -> Response:
    """Open a shut account again."""
    await asyncio.to_thread(accounts.enable, given.name, who.name, Door.WEB, who)
    return Response(status_code=204)


@router.post("/api/invitations", status_code=201)
async def invite(given: NewInvitation, request: Request, who: Host) -> dict[str, Any]:
    """Make an invitation; its link is shown this once."""
    code = await asyncio.to_thread(invitations.invite, given.role, given.days, given.note, who.name, Door.WEB, who)
    base = settings().public_url.rstrip("/") or f"{request.url.scheme}://{request.headers['host']}"
    return {"secret": invitations.link(code, base)}


@router.delete("/api/invitations/{invitation}", status_code=204)
async def withdraw(invitation: str, who: Host) -> Response:
    """Make an invitation void."""
    await asyncio.to_thread(invitations.withdraw, invitation, who.name, Door.WEB, who)
    return Response(status_code=204)
