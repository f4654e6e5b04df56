"""Running the web application under uvicorn."""

from typing import Final

import uvicorn

from app import logs
from app.core.config import settings
from app.core.presence import Presence
from app.web.calm import CalmProtocol

FRAME_BYTES: Final = 4 << 20
"""Largest frame of a socket that is read at all, so that a prompt far over the limit gets an answer that says so."""
SHUTDOWN_SECONDS: Final = 3
"""How long open sockets may take to end; pages reconnect by themselves."""


def run() -> None:
    """Serve until SIGTERM."""
    logs.configure("web", settings().log_level, settings().log_format)
    Presence("web").start()
    uvicorn.run(
        "app.web.main:create",
        factory=True,
        host=settings().host,
        port=settings().port,
        loop="uvloop",
        http="httptools",
        ws=CalmProtocol,
        ws_max_size=FRAME_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
