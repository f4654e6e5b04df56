"""Sealing anew, with the newest master key, what PostgreSQL keeps sealed with an older one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session as Transaction

from app.core import keys
from app.core.models import Message, Session, Turn
from app.wire.envelope import Ring

BATCH: Final = 500
"""Rows a transaction: some tenths of a second, so that nobody waits for their locks."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One column of sealed bytes."""

    name: str
    table: Any
    column: str
    owner: str
    """The column that holds what the ring is derived for."""
    ring: Callable[[str], Ring]


KEPT: Final = (
    Kept("messages", Message, "body", "session_id", keys.rest),
    Kept("titles", Session, "title", "id", keys.rest),
    Kept("reasons", Turn, "reason", "session_id", keys.rest),
    Kept("forms", Turn, "form", "session_id", keys.rest),
)
"""Everything that is sealed at rest in a table; a test holds it against the models."""


def count(tx: Transaction) -> int:
    """Return how many sealed values there are."""
    return sum(tx.scalar(select(func.count()).select_from(kept.table).where(_sealed(kept))) or 0 for kept in KEPT)


def step(tx: Transaction, place: dict[str, Any]) -> tuple[dict[str, Any] | None, int, int]:
    """Do one batch from `place` on; return where the next begins (None: nowhere), and how many were seen and changed."""
    index, after = place.get("kind", 0), place.get("after")
    kept = KEPT[index]
    query = select(kept.table.id, getattr(kept.table, kept.owner), getattr(kept.table, kept.column))
    query = query.where(_sealed(kept)).order_by(kept.table.id).limit(BATCH)
    rows = tx.execute(query.where(kept.table.id > UUID(after)) if after else query).all()
    changed = 0
    for identity, body, anew in _anew(kept, rows):
        column = getattr(kept.table, kept.column)
        # What was written meanwhile is not touched: it is sealed with the newest key.
        tx.execute(update(kept.table).where(kept.table.id == identity, column == body).values({kept.column: anew}))
        changed += 1
    if len(rows) == BATCH:
        return {"kind": index, "after": str(rows[-1][0])}, len(rows), changed
    return ({"kind": index + 1} if index + 1 < len(KEPT) else None), len(rows), changed


def _anew(kept: Kept, rows: Any) -> Iterator[tuple[UUID, bytes, bytes]]:
    for identity, owner, body in rows:
        anew = kept.ring(str(owner)).reseal(body)
        if anew is not None:
            yield identity, body, anew


def _sealed(kept: Kept) -> ColumnElement[bool]:
    found: ColumnElement[bool] = getattr(kept.table, kept.column).is_not(None)
    return found
