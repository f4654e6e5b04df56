"""The partitions of the tables of figures, one a UTC day: made ahead, made when missed, dropped when old."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import transaction

TABLES: Final = ("metrics", "samples")
AHEAD_DAYS: Final = 7
"""Made so long before: a worker that is away for a week makes none in a hurry."""
LOCK: Final = 4_711_007
"""Advisory lock: two that make the same partition at once would get in each other's way."""
LOCK_SECONDS: Final = 2
"""A drop that a long reader holds up gives way, and is tried an hour later."""
_NAME: Final = re.compile(r"(?:metrics|samples)_(\d{8})")


def today() -> date:
    """Return the UTC day."""
    return datetime.now(UTC).date()


def existing(tx: Transaction, table: str) -> set[date]:
    """Return the days that a table has a partition for."""
    query = text("select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = to_regclass(:t)")
    found = (_NAME.fullmatch(name) for name in tx.scalars(query, {"t": table}))
    return {datetime.strptime(name[1], "%Y%m%d").replace(tzinfo=UTC).date() for name in found if name}


def ensure(table: str, days: Iterable[date]) -> None:
    """Make a table's partitions for these days, where there are none; in a transaction of its own."""
    wanted = set(days)
    with transaction() as tx:
        if not wanted - existing(tx, table):
            return
        tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        for day in sorted(wanted - existing(tx, table)):
            # Names and bounds are ours: a table of TABLES and a date.
            tx.execute(
                text(
                    f"create table {table}_{day:%Y%m%d} partition of {table} "
                    f"for values from ('{day} 00:00+00') to ('{day + timedelta(days=1)} 00:00+00')"
                )
            )


def make_ahead() -> None:
    """Make the partitions of the days to come."""
    for table in TABLES:
        ensure(table, [today() + timedelta(days=count) for count in range(AHEAD_DAYS + 1)])


def oldest() -> date:
    """Return the first day whose rows are kept."""
    return today() - timedelta(days=settings().metrics_days)


def drop_old() -> list[str]:
    """Drop the partitions whose days are over; return their names."""
    dropped = []
    for table in TABLES:
        with transaction() as tx:
            tx.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
            for day in sorted(day for day in existing(tx, table) if day < oldest()):
                tx.execute(text(f"drop table {table}_{day:%Y%m%d}"))
                dropped.append(f"{table}_{day:%Y%m%d}")
    return dropped
