"""The audit trail: who did what from which door, in records that are chained by their hashes."""

from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from app.core.models import AuditRecord, now
from app.services import chain
from app.wire.states import Door

LOCK: Final = 4_711_001
"""Advisory lock under which the next record is chained to the last one."""


def record(tx: Transaction, actor: str, door: Door, action: str, subject: str = "", **details: Any) -> AuditRecord:
    """Append a record to the trail, in the transaction of the act itself, and return it; details are metadata, never text."""
    tx.execute(select(func.pg_advisory_xact_lock(LOCK)))
    last = tx.execute(select(AuditRecord.id, AuditRecord.hash).order_by(AuditRecord.id.desc()).limit(1)).first()
    row = AuditRecord(
        id=last.id + 1 if last else 1,
        at=now(),
        actor=actor,
        door=door.value,
        action=action,
        subject=subject,
        details=details,
        previous=last.hash if last else chain.FIRST,
    )
    row.hash = digest(row)
    tx.add(row)
    tx.flush()
    return row


def digest(row: AuditRecord) -> bytes:
    """Return the hash of a record's contents and of the record before it."""
    return chain.digest(row.id, row.at, row.actor, row.door, row.action, row.subject, row.details, row.previous)


def verify(tx: Transaction) -> tuple[int, int | None]:
    """Walk the trail; return how many records are sound and the number of the first that is not, if any."""
    found = chain.walk(tx.connection().connection)
    return found.records, found.broken
