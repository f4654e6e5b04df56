"""Restoring: a backup is made whole beside the live database, and takes its place in one step, or nothing happens."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
import structlog
from psycopg2.sql import SQL, Identifier
from sqlalchemy import make_url
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from app.core import db, pgtools, redis
from app.core.config import settings
from app.services import audit, backup_store, backups, logins, proof, restore_notes
from app.services.backup_store import Manifest
from app.services.backups import LOCK, Progress
from app.services.restore_notes import Note
from app.wire.errors import BadInput, Busy, MeatLizardError
from app.wire.states import Door

log = structlog.get_logger(__name__)

ASIDE: Final = "_restoring_"
"""In the name of a database that is being filled; one that nobody fills any more is removed by the next restore."""
ROOT: Final = "postgres"
"""The database from which others are made, renamed and dropped; every server has it."""


def live_url() -> str:
    """Return the address of the platform's own database."""
    return settings().database_url.get_secret_value()


def into(url: str, backup: str, progress: Progress = lambda *_: None) -> Manifest:
    """Restore a backup into another database, made if it is not there; raise BadInput where it holds anything."""
    manifest = backup_store.manifest(backup)
    name = str(make_url(url).database)
    with _root(url) as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", (name,))
        if not cursor.fetchone():
            cursor.execute(SQL("create database {}").format(Identifier(name)))
    with pgtools.connected(url) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = 'public'")
        if cursor.fetchone()[0]:
            raise BadInput(f"The database {name!r} is not empty. Name one that is, or one that is not there yet.")
    _made(url, manifest, progress)
    return manifest


def live(backup: str, actor: str, door: Door, progress: Progress = lambda *_: None) -> Manifest:
    """Put a backup in the place of what the platform holds now; whoever calls has taken a backup of that before.

    The platform is held off meanwhile: its database takes no connections, and pages say why. Redis is emptied at the
    end: the queue is rebuilt from the turns' rows, and everybody signs in anew. Interrupted at any moment, the platform
    holds either all of the old or all of the new.
    """
    url, manifest = live_url(), backup_store.manifest(backup)
    name = str(make_url(url).database)
    aside = f"{name[:32]}{ASIDE}{secrets.token_hex(4)}"
    with _alone(url) as cursor:
        _drop_leftovers(cursor, name)
        _hold(cursor, name)
        try:
            cursor.execute(SQL("create database {}").format(Identifier(aside)))
            _made(pgtools.beside(url, aside), manifest, progress)
            progress("swap", 0.0)
            note = _recorded(pgtools.beside(url, aside), manifest, actor, door)
            restore_notes.keep(note)
            try:
                _swap(cursor, name, aside)
            except BaseException:
                restore_notes.remove(note)
                raise
        finally:
            release(cursor, name)
            _drop_leftovers(cursor, name)
    db.engine().dispose()
    progress("swap", 1.0)
    _empty_redis()
    backups.adopt()
    log.info("backup.restored", backup=backup)
    return manifest


def _made(url: str, manifest: Manifest, progress: Progress) -> None:
    """Fill a database from a backup, and believe it only after it was looked at."""
    proof.fill(url, manifest, lambda share: progress("restore", share))
    problems = proof.compare(url, manifest, lambda share: progress("compare", share))
    if not problems:
        progress("migrate", 0.0)
        proof.check_schema(url, manifest, problems)
        progress("migrate", 1.0)
    if problems:
        raise MeatLizardError(f"The backup {manifest.id} is not good, and nothing was changed: {'; '.join(problems[:3])}.")


def _recorded(url: str, manifest: Manifest, actor: str, door: Door) -> Note:
    """Tell of the restore in the trail that is about to be the platform's, and return the note that bears it out.

    There and not afterwards: the record and what it tells of come to be in the same step.
    """
    with proof.inside(url) as tx, tx.begin():
        row = audit.record(tx, actor, door, "backup.restore", manifest.id)
        return Note(row.hash.hex(), manifest.id, manifest.taken_at, row.at.isoformat())


@contextmanager
def _root(url: str) -> Iterator[Any]:
    with pgtools.connected(pgtools.beside(url, ROOT)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


@contextmanager
def _alone(url: str) -> Iterator[Any]:
    """Hold the lock in the server's own database: a restore takes the platform's away meanwhile."""
    with _root(url) as cursor, pgtools.locked(cursor, LOCK) as free:
        if not free:
            raise Busy("Another restore is under way. Wait for its end.")
        yield cursor


def reopen(url: str) -> bool:
    """Open a database that a killed restore left shut; say whether it was. Left alone while a restore goes on."""
    name = str(make_url(url).database)
    with _root(url) as cursor, pgtools.locked(cursor, LOCK) as free:
        if not free:
            return False
        cursor.execute("select 1 from pg_database where datname = %s and not datallowconn", (name,))
        shut = cursor.fetchone() is not None
        if shut:
            release(cursor, name)
        _drop_leftovers(cursor, name)
        return shut


def _hold(cursor: Any, name: str) -> None:
    cursor.execute(SQL("alter database {} allow_connections false").format(Identifier(name)))
    _end_connections(cursor, name)


def release(cursor: Any, name: str) -> None:
    """Let a database take connections again."""
    cursor.execute(SQL("alter database {} allow_connections true").format(Identifier(name)))


def _end_connections(cursor: Any, name: str) -> None:
    cursor.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = current_user", (name,)
    )


@retry(retry=retry_if_exception_type(psycopg2.errors.ObjectInUse), stop=stop_after_attempt(40), wait=wait_fixed(0.25), reraise=True)
def _swap(cursor: Any, name: str, aside: str) -> None:
    """Let the new one take the old one's name, both in one transaction."""
    for one in (name, aside):
        _end_connections(cursor, one)
    cursor.connection.autocommit = False
    try:
        with cursor.connection:
            old = f"{name[:32]}{ASIDE}old{secrets.token_hex(4)}"
            cursor.execute(SQL("alter database {} rename to {}").format(Identifier(name), Identifier(old)))
            cursor.execute(SQL("alter database {} rename to {}").format(Identifier(aside), Identifier(name)))
    finally:
        cursor.connection.autocommit = True


def _drop_leftovers(cursor: Any, name: str) -> None:
    pattern = f"{name[:32]}{ASIDE}%".replace("_", r"\_")
    cursor.execute("select datname from pg_database where datname like %s", (pattern,))
    for (one,) in cursor.fetchall():
        cursor.execute(SQL("drop database if exists {} with (force)").format(Identifier(one)))


def _empty_redis() -> None:
    try:
        redis.client().flushdb()
        # What is still open is looked at now, and not within a minute: nobody is signed in any more.
        logins.tell(logins.EVERYBODY, ())
    except redis.ERRORS as error:
        raise MeatLizardError(
            f"The database is restored, but Redis could not be emptied ({type(error).__name__}): "
            "restart it with `meatlizard down` and `up`, or run FLUSHDB there; people stay signed in until then."
        ) from error
