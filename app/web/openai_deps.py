"""Who may use `/v1`: programs with a token, never a browser's cookie."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request

from app.services.accounts import Person
from app.web.deps import person
from app.web.openai_answers import ErrorAnswer
from app.wire.errors import NotSignedIn

NO_TOKEN: Final = "Send a token: `Authorization: Bearer ml-…`. Make one with `meatlizard token new`."
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The request cannot be carried out as it is."},
    401: {"model": ErrorAnswer, "description": "No token, or one that does not stand."},
    403: {"model": ErrorAnswer, "description": "The token has not the scope."},
    404: {"model": ErrorAnswer, "description": "No such model."},
    413: {"model": ErrorAnswer, "description": "The request or its prompt is too long."},
    429: {"model": ErrorAnswer, "description": "A limit is reached; Retry-After says until when."},
    500: {"model": ErrorAnswer, "description": "The turn came to nothing."},
    503: {"model": ErrorAnswer, "description": "No node, or a server is away; Retry-After says when to try again."},
}
"""What any route of the API may answer beside its own."""


async def _holder(request: Request) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # A cookie would let other sites' pages spend a person's turns, were they ever let in by CORS.
        raise NotSignedIn(NO_TOKEN)
    return await person(request)


Reader = Annotated[Person, Depends(_holder)]
Talker = Annotated[Person, Depends(_holder)]
