"""`/v1/chat/completions` and `/v1/completions`: a turn like any other, for programs."""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.services import conversations, intake, limits, sessions
from app.services.accounts import Person
from app.services.asking import Asking
from app.web import openai_models
from app.web.deps import address
from app.web.limits import rate_headers
from app.web.openai_answers import ChatAnswer, ChatShape, CompletionAnswer, Shape, TextShape
from app.web.openai_deps import REFUSALS, Talker
from app.web.openai_requests import ChatRequest, CompletionRequest
from app.web.openai_stream import ENDED, EventStream, gone
from app.web.openai_turn import ApiTurn
from app.wire.errors import MeatLizardError, NotSignedIn
from app.wire.states import Door

router = APIRouter(prefix="/v1", tags=["openai"], responses=REFUSALS)

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "The reply; with `stream`, chunks of it as server-sent events.",
    }
}
HUNG_UP = 499
"""nginx's word for a client that did not wait; nobody is there to read it."""


@router.post("/chat/completions", response_model=ChatAnswer, responses=STREAM)
async def chat(given: ChatRequest, request: Request, who: Talker) -> Response:
    """Answer a conversation, whole or as server-sent events."""
    given.check()
    model = await openai_models.asked_for(given.model)
    turn = await _begin(given, request, who)
    return await _answer(given, request, who, turn, ChatShape(turn.turn, model))


@router.post("/completions", response_model=CompletionAnswer, responses=STREAM)
async def completion(given: CompletionRequest, request: Request, who: Talker) -> Response:
    """Answer a prompt; it goes to the model as one message, in the model's own chat template."""
    given.check()
    model = await openai_models.asked_for(given.model)
    turn = await _begin(given, request, who)
    return await _answer(given, request, who, turn, TextShape(turn.turn, model))


async def _begin(given: ChatRequest | CompletionRequest, request: Request, who: Person) -> ApiTurn:
    history, prompt = given.conversation()
    wanted = None if given.model == openai_models.ANY else given.model
    intake.clean(prompt)  # Refused before anything is kept.
    if history:  # Up to a thousand messages, which are not kept for the sake of a refusal.
        await asyncio.to_thread(limits.admit, who, address(request), look=True)
    session, parent = await asyncio.to_thread(conversations.begin, who.id, history)
    state = request.app.state
    try:
        taken = await state.intake.submit(
            Asking(who, session, str(uuid4()), prompt, parent, Door.API, given.sampling(), address(request), wanted)
        )
    except Exception:
        # Refused, and asked again in a moment: the conversation that came with it is not kept each time.
        with contextlib.suppress(MeatLizardError):
            await asyncio.to_thread(sessions.remove, session, who.id)
        raise
    return ApiTurn(taken.turn.turn, session, who.id, state.hub, state.redis)


async def _answer(
    given: ChatRequest | CompletionRequest, request: Request, who: Person, turn: ApiTurn, shape: Shape
) -> Response:
    headers = {} if who.unlimited else await asyncio.to_thread(rate_headers, who.id)
    visit = request.app.state.doorkeeper.visit(request, who)
    if given.stream:
        return EventStream(turn, shape, visit, with_usage=given.with_usage, headers=headers)
    writing = asyncio.create_task(turn.whole())
    tasks: list[asyncio.Task[Any]] = [writing, asyncio.create_task(gone(request.receive))]
    try:
        async with visit as ended:
            tasks.append(asyncio.create_task(ended.wait()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                return JSONResponse(shape.whole(*writing.result()), headers=headers)
            if ended.is_set():
                raise NotSignedIn
            return Response(status_code=HUNG_UP)
    except NotSignedIn:
        raise NotSignedIn(ENDED) from None
    finally:
        for task in tasks:
            task.cancel()
        if not turn.ended:
            await turn.stop()
