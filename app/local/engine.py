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
from app.local.home import Home

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


def served(home: Home | None = None) -> str:
    """The address of an engine that runs already, as the environment or the home's settings file names it; else empty."""
    return os.environ.get(envfile.PREFIX + "LLAMA_URL") or (envfile.read(home.settings).get("LLAMA_URL", "") if home else "")


def sees_gpu() -> bool:
    """Whether the xllamacpp that comes along reaches the machine's GPU; true where there is none to reach.

    The wheel on PyPI computes on the CPU alone but for a Mac's; others, put in its place, do more.
    """
    # Loaded here: `up` asks nothing of it, and starts sooner without.
    from workers.inference.engine.command import Machine

    if not Machine.here().gpu:
        return True
    # 100 MB that only a machine with a GPU has to load.
    import xllamacpp

    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return any(device["type"] in gpus for device in xllamacpp.get_device_info())


def check(
    platform: str = sys.platform, load: Callable[[str], object] = ctypes.CDLL, home: Home | None = None
) -> None:
    """Raises MissingPart where the embedded engine would be used and could not be loaded."""
    if url := served(home):
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
