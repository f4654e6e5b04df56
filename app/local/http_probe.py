"""Asking a process whether it answers HTTP."""

import http.client
from contextlib import closing

from app.local.errors import ServerDown

#: How much of an answer is looked at.
BODY_BYTES = 4096


def status(name: str, host: str, port: int, path: str) -> int:
    """The status that the process of that name answers a plain GET with; raises ServerDown when it does not answer."""
    return answer(name, host, port, path)[0]


def answer(name: str, host: str, port: int, path: str) -> tuple[int, bytes]:
    """The same with the beginning of the answer's body."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=3)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read(BODY_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise ServerDown(name, error) from None
