"""Flower behind the platform's own login: looked at by those who may see tasks, passed on to where it listens."""

import base64
import hashlib
from functools import cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.core.config import settings
from app.services.accounts import Person
from app.services.rights import Right
from app.web.deps import needs
from app.wire.errors import NotAllowed, Unavailable

router = APIRouter(include_in_schema=False)

PREFIX: Final = "flower"
_INLINE: Final = "\nvar autorefresh = 1;\n"
"""The only script that stands in a page of Flower's, as its server writes it."""
CSP: Final = (
    "default-src 'none'; script-src 'self' 'sha256-"
    + base64.b64encode(hashlib.sha256(_INLINE.encode()).digest()).decode()
    + "'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Flower's pages show what nodes say of themselves: a script in it must not run here, where administrators are signed in."""
ASKED: Final = ("accept", "content-type", "if-none-match", "if-modified-since", "x-requested-with")
ANSWERED: Final = ("content-type", "cache-control", "etag", "last-modified", "location")
TIMEOUT_SECONDS: Final = 20
"""Flower asks the workers for some of its pages, and waits for their answers."""


@cache
def _client() -> Any:
    # Loaded here: few ever look at Flower.
    import httpx

    base = settings().flower_url or f"http://127.0.0.1:{settings().flower_port}"
    login = (settings().flower_user, settings().flower_password.get_secret_value())
    return httpx.AsyncClient(base_url=base, auth=login, timeout=TIMEOUT_SECONDS, trust_env=False)


@router.get("/flower")
async def first_page(who: Annotated[Person, needs(Right.SEE_TASKS)]) -> Response:
    """Lead to Flower's first page: its script fills it only where the address ends so."""
    return RedirectResponse(f"/{PREFIX}/")


@router.api_route("/flower/{path:path}", methods=["GET", "POST"])
async def flower(request: Request, who: Annotated[Person, needs(Right.SEE_TASKS)], path: str) -> Response:
    """Pass a request on to Flower, and its answer back; nothing can be changed through it."""
    # Its table of tasks is asked for by POST, since the address would be too long.
    if request.method == "POST" and path != "tasks/datatable":
        raise NotAllowed("Flower is for looking here. What is done to the platform is done on its own pages and commands.")
    # Loaded here, as above.
    import httpx

    headers = {name: value for name in ASKED if (value := request.headers.get(name))}
    try:
        answer = await _client().request(
            request.method, f"/{PREFIX}/{path}", params=request.query_params, headers=headers, content=await request.body()
        )
    except httpx.HTTPError as error:
        raise Unavailable("Flower does not answer. `meatlizard status` tells whether it runs.") from error
    kept = {name: value for name in ANSWERED if (value := answer.headers.get(name))}
    return Response(answer.content, answer.status_code, headers=kept | {"content-security-policy": CSP})
