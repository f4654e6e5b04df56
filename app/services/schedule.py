"""The schedule's memory: when each entry ran last, kept in rows whose locks let one beat at a time send an entry."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from app.core.plain import transaction

# In plain SQL, since beat needs nothing else of the database: the table is app.core.models.Scheduled.


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
    at = datetime.now(UTC)
    with transaction() as tx:
        tx.execute("delete from schedule where not name = any(%s)", [list(entries)])
        for name, (task, every, next_run) in sorted(entries.items()):
            tx.execute(
                "insert into schedule (name, task, every, last_run_at, next_run_at, runs) values (%s, %s, %s, %s, %s, 0)"
                " on conflict (name) do update set task = excluded.task, every = excluded.every",
                [name, task, every, at, next_run],
            )
        tx.execute("select name, last_run_at from schedule")
        return dict(tx.fetchall())


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
        tx.execute("select last_run_at from schedule where name = %s for update skip locked", [name])
        row = tx.fetchone()
        if row is None:
            yield None
            return
        held = Claim(row[0])
        yield held
        if held.ran:
            tx.execute(
                "update schedule set last_run_at = %s, next_run_at = %s, runs = runs + 1 where name = %s", [*held.ran, name]
            )


def listed() -> list[Entry]:
    """Return the entries, the next one first."""
    with transaction() as tx:
        tx.execute("select name, task, every, last_run_at, next_run_at, runs from schedule order by next_run_at")
        return [Entry(*row) for row in tx.fetchall()]
