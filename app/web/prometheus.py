"""The figures of every process and node for Prometheus, on this machine or with the token."""

import asyncio
import secrets

from fastapi import APIRouter, Request, Response

from app.core.config import settings
from app.web.deps import local
from app.wire.errors import NotSignedIn

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return them to a reader on this machine, or to one with `MEATLIZARD_METRICS_TOKEN`."""
    token = settings().metrics_token.get_secret_value()
    given = request.headers.get("authorization", "").partition(" ")[2]
    if not local(request) and not (token and secrets.compare_digest(given.encode(), token.encode())):
        raise NotSignedIn
    # Prometheus' library takes 4 MB; a web process that is never asked does without.
    from app.services import exposition

    return Response(await asyncio.to_thread(exposition.text_format), media_type=exposition.CONTENT_TYPE)
