"""The nodes as everybody may see them: which answer, how many slots are free, how their machines are."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.services import condition, nodes, queue
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs

router = APIRouter(include_in_schema=False)


def _found() -> dict[str, Any]:
    return {"nodes": nodes.listed(), "waiting": len(queue.waiting()), "gigabytes": condition.gigabytes}


@router.get("/nodes", response_class=HTMLResponse)
async def page(request: Request, who: Annotated[Person, needs(Right.SEE_NODES)]) -> Response:
    """Show the nodes as they are now."""
    return panels.show(request, who, "nodes.html", **await asyncio.to_thread(_found))
