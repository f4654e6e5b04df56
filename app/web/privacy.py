"""One's own data: all of it as a file, and the end of it."""

import asyncio
from typing import IO, Annotated

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool

from app.services import erasure, takeout
from app.services.person import Person
from app.services.rights import Right
from app.web import deps
from app.web.aside import PACKING
from app.web.deps import needs
from app.wire.errors import BadInput
from app.wire.states import Door

router = APIRouter(prefix="/api/me", tags=["account"])
Owner = Annotated[Person, needs(Right.OWN_DATA)]

PIECE = 64 * 1024
"""Bytes sent at a time."""


class Farewell(BaseModel):
    """One's own name, typed once more: nobody deletes themselves by a slip."""

    name: str = Field(max_length=64)


@router.get("/export", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
async def take_out(who: Owner) -> Response:
    """Return all that is kept of oneself, as a ZIP file."""
    file: IO[bytes] = await PACKING.run(takeout.packed, who.id, who.name, Door.WEB)
    pieces = iterate_in_threadpool(iter(lambda: file.read(PIECE), b""))
    headers = {"content-disposition": 'attachment; filename="meatlizard-export.zip"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers, background=BackgroundTask(file.close))


@router.delete("", status_code=202)
async def farewell(given: Farewell, who: Owner) -> Response:
    """Delete one's account with everything in it; it is gone within a minute."""
    if given.name.strip().lower() != who.name:
        raise BadInput(f"To delete everything, type your name as it is: {who.name}")
    await asyncio.to_thread(erasure.begin, who.id, who.name, Door.WEB)
    response = Response(status_code=202)
    deps.clear_cookie(response)
    return response
