"""Everybody's share of the queue: how much weight a person has, how many of their turns may run and wait at once."""

import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from sqlalchemy.dialects.postgresql import insert

from app.core.config import settings
from app.core.db import single, transaction
from app.core.models import Share as Row
from app.core.prepared import Statement
from app.services import audit
from app.wire.errors import BadInput
from app.wire.states import Door

FRESH_SECONDS: Final = 2.0
"""How long a process goes by what it has read; so soon every one of them knows of a change."""
MOST_WEIGHT: Final = 10
ROLES: Final = ("owner", "admin", "member", "guest")
"""Guests too have a share, though nobody is made one by hand."""
_ALL: Final = Statement("select scope, weight, running, waiting from shares")


@dataclass(frozen=True, slots=True)
class Share:
    """What one person has of the queue."""

    weight: int = 1
    """Turns in a round of the queue, 1 to 10."""
    running: int = 0
    """Turns that may run at once; 0: as many as there are slots."""
    waiting: int = 50
    """Turns that may wait."""


@dataclass(slots=True)
class _Kept:
    """The table as it was read last."""

    rows: dict[str, dict[str, int]]
    at: float


@cache
def _kept() -> _Kept:
    return _Kept({}, -FRESH_SECONDS)


def of(user: str, role: str) -> Share:
    """Return a person's share: the settings', then what was set for their role, then for themselves."""
    kept = _kept()
    if time.monotonic() - kept.at > FRESH_SECONDS:
        kept.rows = {row.scope: _given(row.weight, row.running, row.waiting) for row in single(_ALL, {})}
        kept.at = time.monotonic()
    share = Share(running=settings().running_limit, waiting=settings().waiting_limit)
    given = settings().shares.get(role, {}), kept.rows.get(f"role:{role}", {}), kept.rows.get(f"user:{user}", {})
    for more in given:
        share = replace(share, **more)
    return share


def most_waiting(user: str) -> dict[str, int]:
    """Return how many turns a person may have waiting, by the role that they may have."""
    return {role: of(user, role).waiting for role in ROLES}


def set_share(
    scope: str, actor: str, door: Door, *, weight: int | None = None, running: int | None = None, waiting: int | None = None
) -> None:
    """Set the share of `role:NAME` or `user:ID`; what is None goes by the settings again. Holds within two seconds."""
    kind, _, name = scope.partition(":")
    if kind not in ("role", "user") or (kind == "role" and name not in ROLES):
        raise BadInput(f"There is no share of {scope!r}: it is role:NAME or user:ID, and roles are {', '.join(ROLES)}.")
    if weight is not None and not 1 <= weight <= MOST_WEIGHT:
        raise BadInput(f"A weight is a whole number from 1 to {MOST_WEIGHT}.")
    if (running is not None and running < 0) or (waiting is not None and waiting < 1):
        raise BadInput("At least 0 turns may run (0: as many as there are slots), and at least 1 may wait.")
    values = {"weight": weight, "running": running, "waiting": waiting}
    with transaction() as tx:
        statement = insert(Row).values(scope=scope, **values)
        tx.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=values))
        audit.record(tx, actor, door, "share.set", scope, **_given(weight, running, waiting))
    _kept.cache_clear()


def _given(weight: int | None, running: int | None, waiting: int | None) -> dict[str, int]:
    values = {"weight": weight, "running": running, "waiting": waiting}
    return {name: value for name, value in values.items() if value is not None}
