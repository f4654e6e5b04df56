"""What each person used: turns and tokens, by the hour and the day."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select

from app.core.db import transaction
from app.core.models import UsageRollup, User

HOURS_KEPT: Final = 24 * 7
"""A longer time is summed from days."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one person used in a time; about a minute behind."""

    user: str
    name: str
    turns: int
    prompt_tokens: int
    completion_tokens: int


def of(user: str, hours: int) -> Usage:
    """Return what a person used in the last `hours` hours, the one that runs included."""
    found = _sums(hours, UUID(user), 1)
    return found[0] if found else Usage(user, "", 0, 0, 0)


def most(hours: int, count: int = 20) -> list[Usage]:
    """Return those who used most tokens in the last `hours` hours."""
    return _sums(hours, None, count)


def _sums(hours: int, user: UUID | None, count: int) -> list[Usage]:
    span = "h" if hours <= HOURS_KEPT else "d"
    since = datetime.now(UTC) - timedelta(hours=hours)
    since = since.replace(minute=0, second=0, microsecond=0) if span == "h" else since.replace(hour=0, minute=0, second=0)
    prompt, reply = func.sum(UsageRollup.prompt_tokens), func.sum(UsageRollup.completion_tokens)
    query = (
        select(UsageRollup.user_id, func.sum(UsageRollup.turns), prompt, reply)
        .where(UsageRollup.span == span, UsageRollup.at >= since)
        .group_by(UsageRollup.user_id)
        .order_by((prompt + reply).desc())
        .limit(count)
    )
    if user is not None:
        query = query.where(UsageRollup.user_id == user)
    with transaction() as tx:
        rows = tx.execute(query).all()
        called = dict(tx.execute(select(User.id, User.name).where(User.id.in_([row[0] for row in rows]))).all())
    return [Usage(str(who), called.get(who, ""), int(turns), int(into), int(out)) for who, turns, into, out in rows]
