"""Reading the audit trail: page by page with filters, whole for export; whether it is sound, app.services.chain says."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Select, select

from app.core.db import transaction
from app.core.models import AuditRecord
from app.services import audit
from app.wire.states import Door

PAGE: Final = 100
"""Records that are shown at once."""
CHUNK: Final = 1000
"""Records that an export reads at once: its memory stays the same however long the trail is."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; what is empty does not matter."""

    actor: str = ""
    door: str = ""
    action: str = ""
    """The whole action, or its first part: `user` finds `user.add` and `user.role`."""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def applied(self, query: Select[Any]) -> Select[Any]:
        """Return the query with these conditions."""
        if self.actor:
            query = query.where(AuditRecord.actor == self.actor)
        if self.door:
            query = query.where(AuditRecord.door == self.door)
        if self.action:
            action = AuditRecord.action
            query = query.where((action == self.action) | action.startswith(self.action + ".", autoescape=True))
        if self.subject:
            query = query.where(AuditRecord.subject == self.subject)
        if self.since:
            query = query.where(AuditRecord.at >= self.since)
        if self.until:
            query = query.where(AuditRecord.at < self.until)
        return query


def listed(wanted: Filter | None = None, before: int | None = None, most: int = PAGE) -> list[AuditRecord]:
    """Return records, the newest first, those before the number `before`."""
    query = (wanted or Filter()).applied(select(AuditRecord)).order_by(AuditRecord.id.desc()).limit(most)
    with transaction() as tx:
        return list(tx.scalars(query.where(AuditRecord.id < before) if before else query))


def actions() -> list[str]:
    """Return every action there is in the trail, by name."""
    with transaction() as tx:
        return list(tx.scalars(select(AuditRecord.action).distinct().order_by(AuditRecord.action)))


def exported(wanted: Filter, actor: str, door: Door) -> Iterator[bytes]:
    """Yield the records as JSON lines, the oldest first; that somebody took them out is recorded first."""
    with transaction() as tx:
        audit.record(tx, actor, door, "audit.export")
    after = 0
    while True:
        query = wanted.applied(select(AuditRecord)).where(AuditRecord.id > after).order_by(AuditRecord.id).limit(CHUNK)
        with transaction() as tx:
            rows = list(tx.scalars(query))
        for row in rows:
            yield orjson.dumps(shown(row)) + b"\n"
        if len(rows) < CHUNK:
            return
        after = rows[-1].id


def shown(row: AuditRecord) -> dict[str, Any]:
    """Return a record as it leaves the platform; with its hashes, so that others can check the chain."""
    return {
        "id": row.id,
        "at": row.at.isoformat(),
        "actor": row.actor,
        "door": row.door,
        "action": row.action,
        "subject": row.subject,
        "details": row.details,
        "previous": row.previous.hex(),
        "hash": row.hash.hex(),
    }
