"""The audit page: who did what from which door, with filters, and the trail as a file."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from app.services import chain, trail
from app.services.person import Person
from app.services.rights import Right
from app.services.trail import Filter
from app.web import panels
from app.web.deps import needs
from app.wire.errors import BadInput
from app.wire.states import Door

router = APIRouter(include_in_schema=False)
Word = Annotated[str, Query(max_length=128)]


def wanted(
    actor: Word = "", door: Word = "", action: Word = "", subject: Word = "", since: Word = "", until: Word = ""
) -> Filter:
    """Return the filter that the query stands for; days are UTC's, `until` is the last one that counts."""
    last = _day(until)
    return Filter(actor.strip(), door, action, subject.strip(), _day(since), last and last + timedelta(days=1))


def _day(given: str) -> datetime | None:
    if not given:
        return None
    try:
        return datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise BadInput("A day is written 2026-01-31.") from None


@router.get("/admin/audit", response_class=HTMLResponse)
async def audit_page(
    request: Request,
    who: Annotated[Person, needs(Right.SEE_AUDIT)],
    filters: Annotated[Filter, Depends(wanted)],
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Show the trail, the newest records first."""
    rows = await asyncio.to_thread(trail.listed, filters, before, trail.PAGE + 1)
    context: dict[str, Any] = {
        "rows": rows[: trail.PAGE],
        "more": request.url.include_query_params(before=rows[trail.PAGE - 1].id).query if len(rows) > trail.PAGE else "",
        "query": request.url.query,
        "given": dict(request.query_params),
        "doors": [door.value for door in Door],
        "actions": await asyncio.to_thread(trail.actions),
    }
    return panels.show(request, who, "audit.html", **context)


@router.get("/admin/audit/verify", response_class=HTMLResponse)
async def audit_verified(request: Request, who: Annotated[Person, needs(Right.SEE_AUDIT)]) -> Response:
    """Walk the whole trail and say whether it is sound."""
    found = await asyncio.to_thread(chain.verified)
    return panels.show(request, who, "audit_verified.html", found=found)


@router.get("/admin/audit.jsonl")
async def audit_file(
    who: Annotated[Person, needs(Right.EXPORT_AUDIT)], filters: Annotated[Filter, Depends(wanted)]
) -> Response:
    """Hand out the trail as JSON lines."""
    lines: AsyncIterator[bytes] = iterate_in_threadpool(trail.exported(filters, who.name, Door.WEB))
    headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)
