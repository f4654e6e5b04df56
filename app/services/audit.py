"""The audit trail: who did what from which door, in records that are chained by their hashes."""

import hashlib
from typing import Any, Final

import orjson
from sqlalchemy import Text, cast, func, select, text
from sqlalchemy.orm import Session as Transaction

from app.core.models import AuditRecord, now
from app.wire.states import Door

LOCK: Final = 4_711_001
"""Advisory lock under which the next record is chained to the last one."""
FIRST: Final = bytes(32)
"""What the first record names as the hash before it."""


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
        previous=last.hash if last else FIRST,
    )
    row.hash = digest(row)
    tx.add(row)
    tx.flush()
    return row


def digest(row: AuditRecord) -> bytes:
    """Return the hash of a record's contents and of the record before it."""
    return _digest(row.id, row.at, row.actor, row.door, row.action, row.subject, row.details, row.previous)


def _digest(*fields: Any) -> bytes:
    identity, at, *words, details, previous = fields
    body = [identity, at.isoformat(), *words, details, previous.hex()]
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def verify(tx: Transaction) -> tuple[int, int | None]:
    """Walk the trail; return how many records are sound and the number of the first that is not, if any."""
    previous, expected = FIRST, 1
    tx.execute(text("set local timezone to 'UTC'"))
    row = AuditRecord
    # Columns by the connection, details as text: a trail has tens of thousands of records, and somebody waits for the answer.
    query = select(
        row.id, row.at, row.actor, row.door, row.action, row.subject, cast(row.details, Text), row.previous, row.hash
    ).order_by(row.id)
    for *fields, details, before, found in tx.connection().execute(query, execution_options={"yield_per": 1000}):
        if fields[0] != expected or before != previous or found != _digest(*fields, orjson.loads(details), before):
            return expected - 1, expected
        previous, expected = found, expected + 1
    return expected - 1, None
