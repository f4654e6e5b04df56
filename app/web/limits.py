"""Limits: what one has left, on the account page and in headers; and what they are, for those who set them."""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from app.core import redis
from app.services import limits
from app.services.limits import Kind
from app.services.person import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs
from app.wire.errors import MeatLizardError
from app.wire.states import Door

router = APIRouter(tags=["limits"])

CALLED: Final = {
    Kind.PROMPTS: "Prompts a minute",
    Kind.TOKENS: "Tokens a day",
    Kind.TURNS: "Turns at once",
    Kind.SOCKETS: "Pages at once",
    Kind.TRIES: "Tries to sign in",
}


class Wanted(BaseModel):
    """A limit as it shall be from now on."""

    scope: str = Field(max_length=128)
    """A role, a user's name, `token:ID`, `address` or `name`."""
    kind: Kind
    value: int | None = Field(ge=0, le=limits.LARGEST)
    """None: without limit."""


class Given(BaseModel):
    """Which limit shall be again what the platform has by itself."""

    scope: str = Field(max_length=128)
    kind: Kind


@router.get("/api/me/limits")
async def mine(who: Annotated[Person, needs(Right.OWN_ACCOUNT)]) -> dict[str, Any]:
    """Return what one has left: `left` and `of` are null where there is no limit."""
    found = await asyncio.to_thread(limits.left, who.id)
    return {
        "limits": [
            {"kind": one.kind, "left": one.left, "of": one.of, "resets_at": one.resets_at and one.resets_at.isoformat()}
            for one in found
        ]
    }


@router.put("/api/limits", status_code=204)
async def change(given: Wanted, who: Annotated[Person, needs(Right.SET_LIMITS)]) -> Response:
    """Change a limit; it holds within two seconds."""
    await asyncio.to_thread(limits.set_limit, given.scope, given.kind, given.value, who.name, Door.WEB)
    return Response(status_code=204)


@router.delete("/api/limits", status_code=204)
async def give_back(given: Given, who: Annotated[Person, needs(Right.SET_LIMITS)]) -> Response:
    """Give a limit back what the platform has by itself."""
    default: Literal["default"] = "default"
    await asyncio.to_thread(limits.set_limit, given.scope, given.kind, default, who.name, Door.WEB)
    return Response(status_code=204)


@router.get("/admin/limits", response_class=HTMLResponse, include_in_schema=False)
async def limits_page(request: Request, who: Annotated[Person, needs(Right.SET_LIMITS)]) -> Response:
    """Show the limits, and let them be changed."""
    rows = await asyncio.to_thread(limits.table)
    return panels.show(request, who, "limits.html", rows=rows, kinds=list(Kind), called=CALLED)


def rate_headers(user: str) -> dict[str, str]:
    """Return what is left as OpenAI's headers say it; nothing where it cannot be found out just now."""
    try:
        found = {one.kind: one for one in limits.left(user)}
    except (MeatLizardError, *redis.ERRORS):
        return {}
    headers = {}
    for kind, word in ((Kind.PROMPTS, "requests"), (Kind.TOKENS, "tokens")):
        one = found[kind]
        if one.of is not None:
            headers[f"x-ratelimit-limit-{word}"] = str(one.of)
            headers[f"x-ratelimit-remaining-{word}"] = str(one.left)
    return headers
