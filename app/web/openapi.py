"""The OpenAPI document of every route that answers with data, for whoever is signed in."""

from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel

from app.web.deps import Known

router = APIRouter(tags=["health"])


class ErrorText(BaseModel):
    """What went wrong, for programs and for people."""

    code: str
    message: str


class Refusal(BaseModel):
    """Every error outside of `/v1`."""

    error: ErrorText


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Refusal, "description": "The request cannot be used as it is."},
    401: {"model": Refusal, "description": "Nobody is signed in, or no longer."},
    403: {"model": Refusal, "description": "Not this person's to do, or from another site's page."},
    404: {"model": Refusal, "description": "No such thing, or not this person's."},
    405: {"model": Refusal, "description": "This address does not take that method."},
    413: {"model": Refusal, "description": "More than is read."},
    429: {"model": Refusal, "description": "A limit is reached; Retry-After says for how long."},
    500: {"model": Refusal, "description": "An accident."},
    503: {"model": Refusal, "description": "A server is away; nothing was lost."},
}
"""What any route may answer beside its own."""


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document; both ways of signing in stand in it."""
    made: dict[str, Any] = app.openapi()
    made.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token, as `meatlizard token new` makes it."},
        "login": {"type": "apiKey", "in": "cookie", "name": "__Host-meatlizard", "description": "A browser's login."},
    }
    for path in made["paths"].values():
        for operation in path.values():
            # Every refused field is a 400 here; FastAPI would declare its own.
            operation["responses"].pop("422", None)
    made["security"] = [{"token": []}, {"login": []}]
    return made


@router.get("/api/openapi.json")
async def openapi(request: Request, _: Known) -> dict[str, Any]:
    """Return the OpenAPI document."""
    return document(request.app)
