"""Errors in the shape that OpenAI's clients know, with the status they sort them by."""

from typing import Any, Final

from starlette.responses import JSONResponse

from app.wire.errors import BadInput, MeatLizardError, NotAllowed, NotFound

PREFIX: Final = "/v1/"
"""Below here every error has this shape."""

_CODES: Final = {
    "not_signed_in": "invalid_api_key",
    "busy": "rate_limit_exceeded",
    "bad_input": None,
    "error": None,
}
"""Codes that OpenAI gives another name; all others stay ours."""
_TYPES: Final = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}


class ModelNotFound(NotFound):
    """No node serves the model that was asked for."""

    code = "model_not_found"

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"There is no model {name[:100]!r} here. There is {', '.join(known)}.")


class ScopeMissing(NotAllowed):
    """A token that does not open this."""

    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This token has not the scope {scope!r}. Make one that has: `meatlizard token new --scope {scope}`.")


class BadField(BadInput):
    """One field of a request that cannot be carried out, and why."""

    def __init__(self, param: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code:
            self.code = code


class TurnFailed(MeatLizardError):
    """A turn that ended without a whole reply."""

    def __init__(self, reason: str, *, refused: bool, code: str) -> None:
        super().__init__(reason)
        self.status, self.code = (400 if refused else 500), code


def body(error: MeatLizardError) -> dict[str, Any]:
    """Return the error as OpenAI's clients read it."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(error.status, kind),
            "param": getattr(error, "param", None),
            "code": _CODES.get(error.code, error.code),
        }
    }


def refusal(error: MeatLizardError) -> JSONResponse:
    """Return the answer that tells an error."""
    response = JSONResponse(body(error), error.status)
    if error.retry_seconds is not None:
        response.headers["retry-after"] = str(error.retry_seconds)
    if error.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if isinstance(error, TurnFailed):
        # Three attempts were made already: a client that asks again by itself would make it nine.
        response.headers["x-should-retry"] = "false"
    return response
