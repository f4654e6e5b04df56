"""An end to the wait for a PostgreSQL that takes every byte and never answers: hung, stopped, or behind a proxy that is."""

import select
import time
from typing import Any, Final

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, STATUS_BEGIN, STATUS_PREPARED, STATUS_READY, set_wait_callback

ASK_SECONDS: Final = 10
"""After so much silence a new connection is made, only to hear whether anybody is there."""
CONNECT_SECONDS: Final = 5
"""How long that may take, and each connection whose address does not say it."""
BOUND_SECONDS: Final = 35
"""The server itself ends a statement after 30 s (app.core.plain): whoever is silent for longer will never answer."""
_ESTABLISHED: Final = (STATUS_READY, STATUS_BEGIN, STATUS_PREPARED)


class NoAnswer(psycopg2.OperationalError):  # type: ignore[misc]  # psycopg2 has no types.
    """The server was given up; the connection is closed by the driver."""


def wait(connection: Any, _cursor: Any = None) -> None:
    """Wait for what libpq waits for, as psycopg2 asks it of its wait callback; raise NoAnswer instead of waiting for ever.

    With a callback the driver itself no longer heeds `connect_timeout`, and COPY and large objects are not to be had.
    """
    if connection.status not in _ESTABLISHED:
        _connect(connection)
        return
    silent = 0.0
    while (state := connection.poll()) != POLL_OK:
        if _ready(connection, state, ASK_SECONDS):
            silent = 0.0
            continue
        silent += ASK_SECONDS
        bounded = "statement_timeout=" in connection.info.options
        if (bounded and silent >= BOUND_SECONDS) or not _anybody_there(connection):
            raise NoAnswer("PostgreSQL takes what it is sent and does not answer")


def _connect(connection: Any) -> None:
    until = time.monotonic() + float(connection.info.dsn_parameters.get("connect_timeout") or CONNECT_SECONDS)
    while (state := connection.poll()) != POLL_OK:
        if not _ready(connection, state, max(0.0, until - time.monotonic())):
            raise NoAnswer("PostgreSQL does not answer who connects")


def _ready(connection: Any, state: int, seconds: float) -> bool:
    # `select` would refuse a number over 1023, and a web process has more sockets than that.
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
    return bool(waiting.poll(seconds * 1000))


def _anybody_there(connection: Any) -> bool:
    """Say whether the server answers somebody new; that it wants a password, or has no room, is an answer."""
    try:
        psycopg2.connect(**connection.info.dsn_parameters | {"connect_timeout": CONNECT_SECONDS}).close()
    except NoAnswer:
        return False
    except psycopg2.Error:
        pass
    return True


def watch() -> None:
    """Let every connection of this process be waited for so."""
    set_wait_callback(wait)
