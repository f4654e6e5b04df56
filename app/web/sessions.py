"""Sessions and turns over REST; what streams goes over the socket."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from app.services import dispatch, limits, markdown, session_list, sessions, turns
from app.services.person import Person
from app.services.sessions import Shown, Summary
from app.web.deps import Known, arriving

router = APIRouter(prefix="/api", tags=["sessions"])


class Title(BaseModel):
    """What a session shall be called."""

    title: str = Field(max_length=200)


def _summary(one: Summary) -> dict[str, Any]:
    return {"id": one.id, "title": one.title, "updated_at": one.updated_at.isoformat()}


@router.get("/sessions")
async def list_sessions(
    who: Known, before: Annotated[str, Query(max_length=100)] = "", find: Annotated[str, Query(max_length=200)] = ""
) -> dict[str, Any]:
    """Return one's sessions, the latest first: a page, and as `next` what to give as `before` for the older ones.

    With `find` only those whose title holds these words; a page without any may have a `next` as well.
    """
    page = await asyncio.to_thread(session_list.page, who.id, before, find)
    return {"sessions": [_summary(one) for one in page.sessions], "next": page.next}


@router.post("/sessions", status_code=201)
async def create_session(who: Annotated[Person, Depends(arriving)]) -> dict[str, Any]:
    """Open a session."""
    await asyncio.to_thread(limits.begin_session, who)
    return _summary(await asyncio.to_thread(sessions.create, who.id))


@router.get("/sessions/{session}")
async def show_session(session: str, who: Known) -> dict[str, Any]:
    """Return a session with all its messages and its unfinished turns."""
    shown = await asyncio.to_thread(_shown, session, who.id)
    for turn in shown.turns:
        if turn["state"] == "queued" and (place := await asyncio.to_thread(dispatch.place, turn["id"])):
            turn["position"], turn["eta"] = place
    return {
        "id": shown.id,
        "title": shown.title,
        "updated_at": shown.updated_at.isoformat(),
        "messages": shown.messages,
        "turns": shown.turns,
    }


def _shown(session: str, user: str) -> Shown:
    found = sessions.show(session, user)
    for message in found.messages:
        message["html"] = markdown.render(message["text"])
    return found


@router.patch("/sessions/{session}")
async def rename_session(session: str, given: Title, who: Known) -> dict[str, Any]:
    """Give a session another title."""
    return _summary(await asyncio.to_thread(sessions.rename, session, who.id, given.title))


@router.delete("/sessions/{session}", status_code=204)
async def delete_session(session: str, who: Known) -> Response:
    """Delete a session with everything in it; what it has running is stopped first."""
    for turn in await asyncio.to_thread(sessions.unfinished, session, who.id):
        await asyncio.to_thread(turns.stop, turn, who.id)
    await asyncio.to_thread(sessions.remove, session, who.id)
    return Response(status_code=204)


@router.post("/turns/{turn}/stop", status_code=202)
async def stop_turn(turn: str, who: Known) -> Response:
    """Stop a turn; its stream says when it has ended."""
    await asyncio.to_thread(turns.stop, turn, who.id)
    return Response(status_code=202)
