"""The chain of the audit trail, and the walk along it: in plain SQL, since somebody waits for the answer."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.core.plain import transaction

FIRST: Final = bytes(32)
"""What the first record names as the hash before it."""
STEP: Final = 1000
"""Records that are read at once: memory stays the same however long the trail is."""
_RECORDS: Final = "select id, at, actor, door, action, subject, details::text, previous, hash from audit_log order by id"
"""Of the table app.core.models.AuditRecord."""


@dataclass(frozen=True, slots=True)
class Soundness:
    """What a walk along the whole trail found."""

    records: int
    """How many are sound, from the first one on."""
    broken: int | None
    """The number of the first that was changed, removed or put elsewhere; None where there is none."""
    head: str
    """The hash of the last sound record: what a backup keeps, so that a trail cut short is noticed."""

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return self.broken is None


def digest(*fields: Any) -> bytes:
    """Return the hash of a record's fields in the order of its columns, the last of them the hash of the record before it."""
    identity, at, *words, details, previous = fields
    body = [identity, at.isoformat(), *words, details, previous.hex()]
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def walk(connection: Any) -> Soundness:
    """Walk the trail in the connection's transaction."""
    previous, expected = FIRST, 1
    with connection.cursor() as cursor:
        cursor.execute("set local timezone to 'UTC'")
    with connection.cursor("trail") as cursor:
        cursor.itersize = STEP
        cursor.execute(_RECORDS)
        for *fields, details, before, kept in cursor:
            # What the driver gives is equal to no bytes, whatever is in it.
            found = bytes(kept)
            if fields[0] != expected or bytes(before) != previous or found != digest(*fields, orjson.loads(details), previous):
                return Soundness(expected - 1, expected, previous.hex())
            previous, expected = found, expected + 1
    return Soundness(expected - 1, None, previous.hex())


def verified(heads: dict[int, str] | None = None) -> Soundness:
    """Walk the trail; `heads` are hashes by number that were noted elsewhere, such as in backups, and must be in it."""
    noted = heads or {}
    with transaction() as tx:
        found = walk(tx.connection)
        tx.execute("select id, hash from audit_log where id = any(%s)", [list(noted)])
        kept = {number: bytes(one).hex() for number, one in tx.fetchall()}
    missing = [number for number, one in noted.items() if kept.get(number) != one]
    broken = min([*missing, *([found.broken] if found.broken else [])], default=None)
    return Soundness(found.records, broken, found.head)


def acts(action: str) -> list[tuple[int, str]]:
    """Return the number and the hash, in hexadecimal, of each record of an act of a kind, in their order."""
    with transaction() as tx:
        tx.execute("select id, hash from audit_log where action = %s order by id", [action])
        return [(number, bytes(found).hex()) for number, found in tx.fetchall()]
