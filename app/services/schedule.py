"""The schedule's memory: when each entry ran last, kept in rows whose locks let one beat at a time send an entry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from app.core.db import transaction
from app.core.models import Scheduled, now


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as lists show it."""

    name: str
    task: str
    every: str
    last_run_at: datetime
    next_run_at: datetime
    runs: int


def know(entries: dict[str, tuple[str, str, datetime]]) -> dict[str, datetime]:
    """Make the rows be these entries: name → (task, every, next run); return when each ran last.

    A new entry counts as just run: what is made at night is not made at the first start at noon. One that runs at other
    times from now on keeps when it ran last.
    """
    at = now()
    with transaction() as tx:
        tx.execute(delete(Scheduled).where(Scheduled.name.not_in(entries)))
        for name, (task, every, next_run) in sorted(entries.items()):
            values = {"task": task, "every": every}
            row = insert(Scheduled).values(name=name, **values, last_run_at=at, next_run_at=next_run, runs=0)
            tx.execute(row.on_conflict_do_update(index_elements=[Scheduled.name], set_=values))
        return {row.name: row.last_run_at for row in tx.scalars(select(Scheduled))}


@dataclass(slots=True)
class Claim:
    """An entry that is this beat's for as long as the transaction lasts."""

    last_run_at: datetime
    ran: tuple[datetime, datetime] | None = None
    """When it ran and when it runs next; set by whoever sent it."""


@contextmanager
def claim(name: str) -> Iterator[Claim | None]:
    """Hold an entry while it is sent; None where another beat holds it. What was set in `ran` is kept at the end."""
    with transaction() as tx:
        row = tx.scalar(select(Scheduled).where(Scheduled.name == name).with_for_update(skip_locked=True))
        if row is None:
            yield None
            return
        held = Claim(row.last_run_at)
        yield held
        if held.ran:
            row.last_run_at, row.next_run_at = held.ran
            row.runs += 1


def listed() -> list[Entry]:
    """Return the entries, the next one first."""
    with transaction() as tx:
        rows = tx.scalars(select(Scheduled).order_by(Scheduled.next_run_at))
        return [Entry(row.name, row.task, row.every, row.last_run_at, row.next_run_at, row.runs) for row in rows]
