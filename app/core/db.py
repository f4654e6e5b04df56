"""The database: one engine a process, one transaction a block."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Engine, Row, create_engine
from sqlalchemy.exc import DBAPIError, NotSupportedError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import sessionmaker

from app.core.config import settings
from app.core.plain import CONNECT_ARGS, away
from app.core.prepared import Statement
from app.wire.errors import BadInput, Unavailable

NUL = "This holds a NUL character, which nothing that is kept may hold. Take it out and try again."


@cache
def engine() -> Engine:
    """Return this process's engine; connects at the first use."""
    return create_engine(
        settings().database_url.get_secret_value(),
        pool_size=5,
        max_overflow=15,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args=CONNECT_ARGS,
    )


@cache
def _factory() -> "sessionmaker[Transaction]":
    return sessionmaker(engine(), expire_on_commit=False)


def _refuse_nul(error: ValueError) -> None:
    # The driver's own word for it: PostgreSQL's text has no such character, wherever one was typed.
    if "NUL (0x00)" in str(error):
        raise BadInput(NUL) from error


@contextmanager
def transaction() -> Iterator[Transaction]:
    """Commit what the block did, or nothing of it; raise Unavailable where the database is away, BadInput for a NUL."""
    try:
        with _factory().begin() as tx:
            yield tx
    except ValueError as error:
        _refuse_nul(error)
        raise
    except (OperationalError, PoolTimeout) as error:
        raise away(error) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise away(error) from error
        raise


@cache
def _single(soft: bool) -> Engine:
    # What is prepared is planned once, whoever asks: its rows are found by their keys. Planned while a table was small it
    # would else go on reading the whole of it, until PostgreSQL next counts its rows.
    options = f"{CONNECT_ARGS['options']} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
    options += " -c synchronous_commit=off" if soft else ""
    return create_engine(
        settings().database_url.get_secret_value(),
        pool_size=5,
        max_overflow=11,
        pool_timeout=5,
        isolation_level="AUTOCOMMIT",
        connect_args=CONNECT_ARGS | {"options": options},
    )


def single(statement: Statement, words: Mapping[str, Any], *, soft: bool = False) -> list[Row[Any]]:
    """Run one statement in a transaction of its own, in one round trip; raise Unavailable where the database is away.

    It may be run twice, where the first connection turned out to be dead: give it only what is safe twice. A `soft` one
    is not waited for on the disk: after a power cut it may not have happened.
    """
    for last in (False, True):
        try:
            with _single(soft).connect() as connection:
                return statement.run(connection, words)
        except ValueError as error:
            _refuse_nul(error)
            raise
        except (OperationalError, PoolTimeout) as error:
            # A restart of the server is noticed by the first who comes; then the pool is made anew.
            if last or not getattr(error, "connection_invalidated", False):
                raise away(error) from error
        except NotSupportedError:
            # Its table has other columns than when it was planned: a newer version of us has come meanwhile.
            if last:
                raise
            _single(soft).dispose()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            if last:
                raise away(error) from error
    raise Unavailable
