"""Pages of other sites that may use `/v1` with a token: none, unless the settings name them."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from app.core.config import settings
from app.web.openai_errors import PREFIX

PREFLIGHT_SECONDS: Final = 600
"""How long a browser may remember what it asked."""


def origins() -> frozenset[str]:
    """Return the origins that the settings name."""
    return frozenset(filter(None, (one.strip().rstrip("/") for one in settings().cors_origins.split(","))))


def allowed(scope: Scope, headers: Headers) -> dict[str, str]:
    """Return the headers that let a page of another site read the answer; none where it may not.

    Credentials are never among what is allowed: a token is what opens `/v1`, no cookie does.
    """
    origin = headers.get("origin", "")
    if not scope["path"].startswith(PREFIX) or origin not in origins():
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-expose-headers": "retry-after",
        "access-control-max-age": str(PREFLIGHT_SECONDS),
        "cross-origin-resource-policy": "cross-origin",
        "vary": "Origin",
    }
