"""The archive: closing sessions and opening them again, their list, and transcripts to take away."""

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from app.services import archive, transcript_markdown, transcripts
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels
from app.web.deps import needs

router = APIRouter(tags=["archive"])

Talker = Annotated[Person, needs(Right.CHAT)]
Before = Annotated[str, Query(max_length=100)]


class Format(StrEnum):
    """How a transcript is written."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"


@router.post("/api/sessions/{session}/close", status_code=204)
async def close_session(session: str, who: Talker) -> Response:
    """Move a session to the archive; its transcript goes to the object store."""
    await asyncio.to_thread(archive.close, session, who.id)
    return Response(status_code=204)


@router.post("/api/sessions/{session}/reopen")
async def reopen_session(session: str, who: Talker) -> dict[str, Any]:
    """Take a session out of the archive again."""
    found = await asyncio.to_thread(archive.reopen, session, who.id)
    return {"id": found.id, "title": found.title, "updated_at": found.updated_at.isoformat()}


@router.get("/api/archive")
async def list_archive(who: Talker, before: Before = "") -> dict[str, Any]:
    """Return one's closed sessions, the latest first, and where their transcripts stand; `next` leads to the older ones."""
    found = await asyncio.to_thread(archive.listed, who.id, before)
    return {
        "next": found.next,
        "sessions": [
            {"id": one.id, "title": one.title, "closed_at": one.closed_at.isoformat(), "transcript": one.transcript}
            for one in found.sessions
        ],
    }


@router.delete("/api/archive/{session}", status_code=204)
async def delete_archived(session: str, who: Talker) -> Response:
    """Delete a closed session with everything in it, its transcript included."""
    await asyncio.to_thread(archive.remove, session, who.id)
    return Response(status_code=204)


@router.get(
    "/api/sessions/{session}/transcript",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {}, "application/jsonl": {}}}},
)
async def take_transcript(session: str, who: Talker, format: Format = Format.MARKDOWN) -> Response:  # noqa: A002
    """Return a session's transcript as a file: `jsonl` with everything, `markdown` to be read."""
    await asyncio.to_thread(archive.check, session, who.id)
    pieces = await asyncio.to_thread(_begun, session, format)
    name, kind = ("md", "text/markdown") if format is Format.MARKDOWN else ("jsonl", "application/jsonl")
    headers = {"content-disposition": f'attachment; filename="transcript-{session[:8]}.{name}"'}
    return StreamingResponse(pieces, media_type=f"{kind}; charset=utf-8", headers=headers)


def _begun(session: str, how: Format) -> Iterator[bytes]:
    """Return the pieces, the first one made: what is wrong shows before the answer has begun."""
    lines = transcripts.read(session)
    if how is Format.MARKDOWN:
        pieces = (piece.encode() for piece in transcript_markdown.written(lines))
    else:
        pieces = (orjson.dumps(line) + b"\n" for line in lines)
    return chain([next(pieces)], pieces)


@router.get("/archive", response_class=HTMLResponse, include_in_schema=False)
async def archive_page(request: Request, who: Talker, before: Before = "") -> Response:
    """Show one's closed sessions."""
    found = await asyncio.to_thread(archive.listed, who.id, before)
    older = request.url.include_query_params(before=found.next).query if found.next else ""
    return panels.show(request, who, "archive.html", sessions=found.sessions, older=older)
