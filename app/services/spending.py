"""Tokens of the day: how many each person has used, counted in Redis, and from their turns where Redis has forgotten."""

import contextlib
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, select

from app.core import redis
from app.core.db import transaction
from app.core.models import Turn, now
from app.wire import names
from app.wire.errors import TooOften

log = structlog.get_logger(__name__)

DAYS_KEPT: Final = 2


def spent(words: str) -> TooOften:
    """Return the error for a day whose tokens are used up; it ends with the day."""
    return TooOften(words, max(1, round((tomorrow() - now()).total_seconds())))


def count(user: str, tokens: int) -> None:
    """Count what a turn used, once it has ended."""
    if tokens <= 0:
        return
    try:
        # Counted anew from the rows where Redis has forgotten; this turn's is among them by then.
        if redis.client().exists(key(user)):
            redis.client().incrby(key(user), tokens)
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def recount(user: str) -> None:
    """Count somebody's tokens of today anew from their turns, since more have become theirs; those of deleted ones stay."""
    with contextlib.suppress(*redis.ERRORS):
        known, kept = redis.client().get(key(user)), _from_rows(user)
        if known is not None and int(known) < kept:
            redis.client().set(key(user), kept, ex=DAYS_KEPT * 86_400)


def keep_used(user: str, whose: str) -> None:
    """Keep what an account used today for the one that follows it, before anything else is known of that."""
    with contextlib.suppress(*redis.ERRORS):
        redis.client().set(key(whose), used(user), ex=DAYS_KEPT * 86_400)


def follow_up(whose: str, user: str) -> None:
    """Count for a new account what was kept for it."""
    with contextlib.suppress(*redis.ERRORS):
        if kept := redis.client().get(key(whose)):
            redis.client().set(key(user), int(kept), nx=True, ex=DAYS_KEPT * 86_400)


def used(user: str) -> int:
    """Return how many tokens somebody used today; raise what Redis raises where it is away."""
    counted = key(user)
    known = redis.client().get(counted)
    if known is None:
        known = _from_rows(user)
        redis.client().set(counted, known, nx=True, ex=DAYS_KEPT * 86_400)
    return int(known)


def _from_rows(user: str) -> int:
    with transaction() as tx:
        spent = func.coalesce(Turn.prompt_tokens, 0) + func.coalesce(Turn.completion_tokens, 0)
        query = select(func.coalesce(func.sum(spent), 0)).where(Turn.user_id == UUID(user), Turn.finished_at >= _today())
        return int(tx.scalar(query) or 0)


def day() -> str:
    """Return the day under which tokens are counted now, UTC's, as `20260131`."""
    return f"{now():%Y%m%d}"


def key(whose: str) -> str:
    """Return the key in Redis under which the tokens of today are counted: of a user, a token or an address."""
    return names.tokens_used(whose, day())


def _today() -> datetime:
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def tomorrow() -> datetime:
    """Return when the day ends, UTC's."""
    return _today() + timedelta(days=1)
