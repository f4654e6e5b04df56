"""Running the web application under uvicorn."""

import resource
import sys
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from app import garbage, logs
from app.core.config import settings
from app.core.presence import Presence
from app.web import main, patience
from app.wire import names

FRAME_BYTES: Final = 4 << 20
"""Largest frame of a socket that is read at all, so that a prompt far over the limit gets an answer that says so."""
SHUTDOWN_SECONDS: Final = 3
"""How long open sockets may take to end; pages reconnect by themselves."""


DESCRIPTORS: Final = 65_536
"""Connections and files that may be open at once, as far as the system lets us; its first word is often 256 or 1,024."""
OPTIONS: Final[dict[str, Any]] = {
    "factory": True,
    "http": patience.Http,
    "ws": patience.WebSocket,
    "ws_max_size": FRAME_BYTES,
    "ws_per_message_deflate": False,
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
}
"""Of uvicorn, wherever it serves: no compression, so that nothing small becomes large, and an end to every wait."""


def run() -> None:
    """Serve until SIGTERM."""
    logs.configure("web", settings().log_level, settings().log_format)
    make_room()
    sys.setswitchinterval(names.SWITCH_SECONDS)
    Presence("web").start()
    uvicorn.run(
        "app.web.server:application",
        host=settings().host,
        port=settings().port,
        loop="uvloop",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        **OPTIONS,
    )


def application() -> FastAPI:
    """Return the application of a process that has nothing else to do."""
    made = main.create()
    garbage.spare()
    return made


def make_room() -> None:
    """Allow as many open connections as the system does: those that hang about must not be all there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
