"""PostgreSQL without SQLAlchemy, for a process that asks so little that it need not carry 25 MB for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2

from app.core import silence
from app.core.config import settings
from app.wire import sockets
from app.wire.errors import Unavailable

CONNECT_ARGS = {
    "connect_timeout": 3,
    # A server that went away without a word is noticed after about 15 s instead of the kernel's two hours.
    "keepalives_idle": sockets.IDLE_SECONDS,
    "keepalives_interval": sockets.PROBE_SECONDS,
    "keepalives_count": sockets.PROBES,
    "tcp_user_timeout": sockets.UNANSWERED_MS,
    "options": "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000",
    "application_name": "meatlizard",
}
"""libpq's parameters: seconds, and milliseconds inside `options`. These see to a dead line and to a statement that takes
too long; to a server that is silent, `silence` does."""

silence.watch()

_kept: Final[dict[str, Any]] = {}
"""The connection that the next block takes, by the address that it leads to: one at most."""


@contextmanager
def transaction() -> Iterator[Any]:
    """Give a cursor; commit what the block did, or nothing of it; raise Unavailable where the database is away."""
    url = settings().database_url.get_secret_value().replace("+psycopg2", "", 1)
    connection: Any = None
    try:
        connection = _living(_kept.pop(url, None)) or psycopg2.connect(url, **CONNECT_ARGS)
        with connection, connection.cursor() as cursor:
            yield cursor
        if url not in _kept:
            _kept[url], connection = connection, None
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise away(error) from error
    finally:
        if connection is not None:
            connection.close()


def _living(connection: Any) -> Any:
    if connection is None:
        return None
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("select 1")
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        # The server was started anew meanwhile.
        connection.close()
        return None
    return connection


def away(error: Exception) -> Unavailable:
    """Return what is raised in the place of an error that says that the database is away."""
    # A restore shuts the database meanwhile (app.services.restore), and PostgreSQL says so in these words.
    if "not currently accepting connections" in str(error):
        return Unavailable("The platform is being restored from a backup. Try again in a few minutes.")
    return Unavailable()
