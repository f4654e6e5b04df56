"""Who may use `/v1`: programs with a token, never a browser's cookie."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request

from app.services.accounts import Person
from app.services.rights import Right
from app.web.deps import person
from app.web.openai_answers import ErrorAnswer
from app.web.openai_errors import ScopeMissing
from app.wire.errors import NotSignedIn

NO_TOKEN: Final = "Send a token: `Authorization: Bearer ml-…`. Make one with `meatlizard token new`."
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The request cannot be carried out as it is."},
    401: {"model": ErrorAnswer, "description": "No token, or one that does not stand."},
    403: {"model": ErrorAnswer, "description": "The token has not the scope."},
    404: {"model": ErrorAnswer, "description": "No such model."},
    405: {"model": ErrorAnswer, "description": "This address does not take that method."},
    413: {"model": ErrorAnswer, "description": "The request or its prompt is too long."},
    429: {"model": ErrorAnswer, "description": "A limit is reached; Retry-After says until when."},
    500: {"model": ErrorAnswer, "description": "The turn came to nothing."},
    503: {"model": ErrorAnswer, "description": "No node, or a server is away; Retry-After says when to try again."},
}
"""What any route of the API may answer beside its own."""


async def holder(request: Request) -> Person:
    """Return who a program acts for; raise NotSignedIn where it brings no token that stands."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # A cookie would let other sites' pages spend a person's turns, were they ever let in by CORS.
        raise NotSignedIn(NO_TOKEN)
    return await person(request)


def _opening(right: Right, scope: str) -> Any:
    async def entitled(request: Request) -> Person:
        who = await holder(request)
        if not who.may(right):
            raise ScopeMissing(scope)
        return who

    entitled.right = right  # type: ignore[attr-defined]  # As `app.web.deps.needs` marks its own.
    return Depends(entitled)


Reader = Annotated[Person, _opening(Right.SEE_NODES, "read")]
Talker = Annotated[Person, _opening(Right.CHAT, "chat")]
