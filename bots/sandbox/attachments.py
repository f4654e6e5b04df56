"""Files beside messages: taken with the message, served from links that expire (docs: reference, Uploading Files)."""

import mimetypes
import re
from typing import Any, Final

from aiohttp import web

from bots.sandbox.errors import ApiError, Problem
from bots.sandbox.records import Attachment
from bots.sandbox.rest import Upload
from bots.sandbox.world import WORLD, World

MOST: Final = 10
FILE_BYTES: Final = 10 * 1024 * 1024
"""A file (docs: reference, Uploading Files)."""
REQUEST_BYTES: Final = 25 * 1024 * 1024
"""A whole request."""


def store(world: World, channel: int, described: Any, files: dict[int, Upload]) -> list[Attachment]:
    """Keep the files of a message; `described` is its attachments field, where names and descriptions may stand."""
    if len(files) > MOST:
        raise ApiError(Problem.ATTACHMENTS_FULL)
    if any(len(one.content) > FILE_BYTES for one in files.values()):
        raise ApiError(Problem.TOO_LARGE)
    about = {str(one.get("id")): one for one in described or ()}
    kept = []
    for number, upload in sorted(files.items()):
        words = about.get(str(number), {})
        name = _clean(words.get("filename") or upload.filename or "unknown")
        kind = mimetypes.guess_type(name)[0] or upload.content_type
        one = Attachment(world.new_id(), channel, name, len(upload.content), kind, words.get("description"))
        world.store.keep_file(one.id, upload.content)
        kept.append(one)
    return kept


def _clean(name: str) -> str:
    """Discord keeps letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.\-]", "_", name.rsplit("/", 1)[-1])[:260] or "unknown"


async def serve(request: web.Request) -> web.StreamResponse:
    """GET /cdn/attachments/{channel}/{attachment}/{name}: the file, as long as the link holds."""
    world = request.app[WORLD]
    attachment = int(request.match_info["attachment"])
    if not world.signer.holds(attachment, request.query):
        return web.Response(status=404, text="This content is no longer available.")
    content = world.store.file(attachment)
    if content is None:
        return web.Response(status=404, text="This content is no longer available.")
    headers = {
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=3600",
    }
    kind = mimetypes.guess_type(request.match_info["name"])[0] or "application/octet-stream"
    return web.Response(body=content, content_type=kind, headers=headers)
