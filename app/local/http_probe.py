"""Asking a process whether it answers HTTP."""

import http.client
from contextlib import closing

from app.local.errors import ServerDown


def status(name: str, host: str, port: int, path: str) -> int:
    """What the process of that name answers to a plain GET; raises ServerDown when it does not."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=3)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise ServerDown(name, error) from None
