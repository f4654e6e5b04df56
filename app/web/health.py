"""How the platform is: for load balancers, and for the page."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.services import nodes, queue
from app.services.accounts import Person
from app.services.rights import Right
from app.web.deps import needs
from app.wire.errors import MeatLizardError

router = APIRouter(tags=["health"])


def _check() -> dict[str, str]:
    found = {}
    try:
        with transaction() as tx:
            tx.execute(text("select 1"))
        found["postgres"] = "ok"
    except MeatLizardError as error:
        found["postgres"] = str(error)
    try:
        redis.client().ping()
        found["redis"] = "ok"
    except redis.ERRORS:
        found["redis"] = "away"
    return found


@router.get("/health")
async def health() -> JSONResponse:
    """Say whether this process can serve: 200 where it reaches its servers, else 503."""
    found = await asyncio.to_thread(_check)
    status = 200 if set(found.values()) == {"ok"} else 503
    # So that whoever has just started a stack knows that it is this one which answers.
    own = {"instance": settings().instance} if settings().instance else {}
    return JSONResponse(found | own, status)


@router.get("/api/state")
async def state(_: Annotated[Person, needs(Right.SEE_NODES)]) -> dict[str, Any]:
    """Return the nodes and how many turns wait."""
    listed = await asyncio.to_thread(nodes.listed)
    waiting = await asyncio.to_thread(queue.waiting)
    # What the engine said of its trouble is for administrators, on the command line.
    shown = [{key: value for key, value in asdict(node).items() if key != "error"} for node in listed]
    return {"nodes": shown, "waiting": len(waiting)}
