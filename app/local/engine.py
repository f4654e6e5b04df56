"""What the embedded llama.cpp needs of the system it runs on."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable

from app.local import envfile
from app.local.errors import MissingPart

LIBRARY = "libgomp.so.1"
"""OpenMP, which the Linux build of xllamacpp leaves to the system; most have it, the slimmest images do not."""


def check(platform: str = sys.platform, load: Callable[[str], object] = ctypes.CDLL) -> None:
    """Raises MissingPart where the embedded engine would be used and could not be loaded."""
    other = os.environ.get(envfile.PREFIX + "LLAMA_URL") or os.environ.get(envfile.PREFIX + "LLAMA_SERVER")
    if other or shutil.which("llama-server") or platform != "linux":
        return
    try:
        load(LIBRARY)
    except OSError:
        raise MissingPart(
            f"llama.cpp needs {LIBRARY}, which this system lacks: install it (Debian, Ubuntu: apt install libgomp1; "
            f"Fedora: dnf install libgomp), or set MEATLIZARD_LLAMA_URL to a server that runs already"
        ) from None
