"""The page of what keeps the platform safe: backups, the schedule, and what waits for the object store."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from app.services import backups, schedule, transcripts
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs
from app.wire.states import Door

router = APIRouter(tags=["backups"])

Keeper = Annotated[Person, needs(Right.BACKUP)]


@router.get("/backups", response_class=HTMLResponse, include_in_schema=False)
async def backups_page(request: Request, who: Keeper) -> Response:
    """Show the backups, the schedule, and the transcripts that wait."""
    return panels.show(
        request,
        who,
        "backups.html",
        backups=await asyncio.to_thread(backups.listed),
        phases=backups.PHASES,
        entries=await asyncio.to_thread(schedule.listed),
        waiting=await asyncio.to_thread(transcripts.waiting),
    )


@router.get("/api/backups")
async def list_backups(who: Keeper) -> dict[str, Any]:
    """Return the backups, the newest first, and how the one under way goes."""
    found = await asyncio.to_thread(backups.listed)
    return {
        "backups": [
            {
                "id": one.id,
                "state": one.state,
                "phase": one.phase,
                "share": one.share,
                "size": one.size,
                "rows": one.rows,
                "error": one.error,
                "proven_at": one.proven_at.isoformat() if one.proven_at else None,
            }
            for one in found
        ]
    }


@router.post("/api/backups", status_code=202)
async def begin_backup(who: Keeper) -> dict[str, str]:
    """Ask for a backup; a worker takes and proves it."""
    return {"id": await asyncio.to_thread(backups.begin, who.name, Door.WEB)}
