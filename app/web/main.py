"""The web application, put together."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from app.core import redis
from app.stream.hub import Hub
from app.web import (
    account,
    accounts,
    admin,
    archive,
    audit,
    backups,
    discord,
    flower,
    health,
    limits,
    nodes,
    openai_chat,
    openai_models,
    openapi,
    pages,
    people,
    privacy,
    prometheus,
    sessions,
    sign_in,
    socket,
    tokens,
)
from app.web.doorkeeper import Doorkeeper
from app.web.intake import Intake
from app.web.openai_errors import BadField
from app.web.pace import Pace
from app.web.security import HEADERS, Guard, refusal
from app.wire.errors import BadInput, MeatLizardError, NotFound, NotSignedIn, Unavailable

log = structlog.get_logger(__name__)
MODULES = (
    pages,
    discord,
    account,
    accounts,
    people,
    archive,
    audit,
    backups,
    privacy,
    flower,
    sessions,
    sign_in,
    health,
    admin,
    nodes,
    limits,
    prometheus,
    socket,
    openai_models,
    openai_chat,
    openapi,
    tokens,
)
"""What has routes; each router is asked in this order."""
HTTP_ERRORS = {
    400: BadInput("The body of this request could not be read: send JSON."),
    404: NotFound("There is no such page."),
    405: BadInput("This address does not take that method."),
}

THREADS = 16
"""As many as there are connections to PostgreSQL at most."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the process's one Pub/Sub connection and its pool for as long as it serves."""
    # Asyncio's own choice is six on two cores: what waits for a disk or a socket there would stand in line for a thread.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "web"))
    app.state.redis = redis.async_client()
    subscriber = redis.pubsub_client()
    async with Hub(subscriber).running() as hub:
        app.state.hub = hub
        app.state.intake = Intake()
        app.state.doorkeeper = Doorkeeper(hub)
        keeping = asyncio.create_task(app.state.doorkeeper.run(), name="doorkeeper")
        yield
        keeping.cancel()
    await subscriber.aclose()
    await app.state.redis.aclose()


async def _own_error(request: Request, error: Any) -> Response:
    """Say what is wrong: on a page to who followed an address, as JSON to a program."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return refusal(error, request.scope)
    if isinstance(error, NotSignedIn):
        return pages.to_sign_in(request)
    return pages.error_page(request, error.status, str(error))


async def _bad_request(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    refused = BadField(place.partition(".")[2] or place, f"This request was not understood: {place}: {first['msg']}.")
    return await _own_error(request, refused)


async def _http_error(request: Request, error: Any) -> Response:
    # FastAPI wraps what goes wrong while a body comes in; ours says what it was.
    ours = error.__cause__ if isinstance(error.__cause__, MeatLizardError) else None
    known = ours or HTTP_ERRORS.get(error.status_code) or BadInput(str(error.detail))
    if "text/html" in request.headers.get("accept", ""):
        response = pages.error_page(request, error.status_code, str(known))
    else:
        response = refusal(known, request.scope)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})  # A 405 names the methods that are taken.
    return response


async def _server_away(request: Request, error: Any) -> Response:
    log.warning("redis.away", path=request.scope["path"], error=str(error))
    return await _own_error(request, Unavailable())


async def _unexpected(request: Request, error: Any) -> Response:
    log.error("unexpected", path=request.scope["path"], exc_info=error)
    response = await _own_error(request, MeatLizardError())
    # Starlette answers this one from outside of every middleware, the guard's included.
    response.headers.update(HEADERS | {"cache-control": "no-store"})
    return response


def create() -> FastAPI:
    """Return the application."""
    # No redirects to an address without its last "/": behind TLS they would lead to one without TLS.
    app = FastAPI(
        title="MeatLizard", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    for module in MODULES:
        app.include_router(module.router, responses=openapi.REFUSALS)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_exception_handler(MeatLizardError, _own_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in redis.ERRORS:
        app.add_exception_handler(kind, _server_away)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(Pace)
    app.add_middleware(Guard)  # Outside of all others: its headers stand on their answers too.
    return app
