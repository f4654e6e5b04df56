"""What the engine needs before anything is started: a library of the system, or a server that answers."""

import ctypes
import os
import shutil
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from app.local import envfile
from app.local.errors import MissingPart

LIBRARY = "libgomp.so.1"
"""OpenMP, which the Linux build of xllamacpp leaves to the system; most have it, the slimmest images do not."""


REACH_SECONDS = 3.0
"""How long an engine that runs already may take to answer at all; it need not have its model loaded yet."""


def reach(url: str) -> None:
    """Raises MissingPart where nothing answers at MEATLIZARD_LLAMA_URL; any answer will do, a refusal too."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no http address")
        socket.create_connection((parts.hostname, port), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise MissingPart(
            f"nothing answers at MEATLIZARD_LLAMA_URL {url} ({error}): start that server, change the address, "
            f"or unset it to use the llama.cpp that comes along"
        ) from None


def check(platform: str = sys.platform, load: Callable[[str], object] = ctypes.CDLL) -> None:
    """Raises MissingPart where the embedded engine would be used and could not be loaded."""
    if url := os.environ.get(envfile.PREFIX + "LLAMA_URL"):
        reach(url)
        return
    other = os.environ.get(envfile.PREFIX + "LLAMA_SERVER")
    if other or shutil.which("llama-server") or platform != "linux":
        return
    try:
        load(LIBRARY)
    except OSError:
        raise MissingPart(
            f"llama.cpp needs {LIBRARY}, which this system lacks: install it (Debian, Ubuntu: apt install libgomp1; "
            f"Fedora: dnf install libgomp), or set MEATLIZARD_LLAMA_URL to a server that runs already"
        ) from None
