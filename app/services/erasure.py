"""Deleting a person with all that is theirs: rows, streams, transcripts, Discord channels; begun at once, finished come what may."""

import contextlib
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core import redis
from app.core.broker import ask_relay, enqueue
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Erasure, Login, Metric, Session, Turn, UsageRollup, User, now
from app.services import accounts, audit, transcripts, turns
from app.services.rights import Rank
from app.wire import names
from app.wire.errors import NotFound, Unavailable
from app.wire.states import Door

log = structlog.get_logger(__name__)

GUESTS_AT_ONCE: Final = 500
"""Guests that are looked up in one go."""


def begin(user: str, actor: str, door: Door) -> None:
    """Shut a person's account and have everything of theirs deleted; raise NotAllowed for the only owner, NotFound for nobody."""
    # Their logins and tokens end here, and the only owner is refused.
    name = accounts.shut(UUID(user), actor, door)
    with transaction() as tx:
        tx.execute(insert(Erasure).values(user_id=UUID(user)).on_conflict_do_nothing())
        audit.record(tx, actor, door, "user.delete", name)
    try:
        enqueue(names.ERASE, user)
    except Unavailable as error:
        log.warning("erasure.later", user=user, error=str(error))


def forget_guests() -> int:
    """Begin the deletion of the guests who cannot come back, once their time is over; return how many.

    A guest is who their login says, and nobody else ever gets at what they said: when the last login has ended, what is
    theirs stays for `guest_keep_hours` after their last word.
    """
    oldest, forgotten = now() - timedelta(hours=settings().guest_keep_hours), 0
    signed_in = select(Login.id).where(Login.user_id == User.id, Login.expires_at > now())
    lately = select(Session.id).where(Session.user_id == User.id, Session.updated_at > oldest)
    begun = select(Erasure.user_id).where(Erasure.user_id == User.id)
    nobody = (User.role == Rank.GUEST, User.password_hash.is_(None))
    over = (*nobody, User.created_at <= oldest, ~signed_in.exists(), ~lately.exists(), ~begun.exists())
    while True:
        with transaction() as tx:
            found = list(tx.scalars(select(User.id).where(*over).limit(GUESTS_AT_ONCE)))
        for guest in found:
            with contextlib.suppress(NotFound):  # They, or another worker, were quicker.
                begin(str(guest), "platform", Door.BEAT)
        forgotten += len(found)
        if len(found) < GUESTS_AT_ONCE:
            return forgotten


def remembered_days() -> int:
    """Return for how many days at most a backup still holds what was deleted."""
    kept = settings()
    return max(kept.backup_keep_days, 7 * kept.backup_keep_weeks, 31 * kept.backup_keep_months)


def waiting() -> list[str]:
    """Return the people whose deletion was begun and is not done."""
    with transaction() as tx:
        return [str(user) for user in tx.scalars(select(Erasure.user_id).order_by(Erasure.asked_at))]


def erase(user: str) -> None:
    """Delete what is left of a person; done as often as needed. Raises Unavailable where a server is away."""
    identity = UUID(user)
    with transaction() as tx:
        if tx.get(Erasure, identity) is None:
            return
        running = list(tx.scalars(select(Turn.id).where(Turn.user_id == identity, Turn.finished_at.is_(None))))
        own = list(tx.scalars(select(Session.id).where(Session.user_id == identity)))
    for turn in running:
        turns.stop(str(turn), user)
    for session in own:
        _erase_session(session)
    redis.client().delete(names.user_queue(user))
    with transaction() as tx:
        # Sums of the platform stay true, and say nothing of anybody any more.
        tx.execute(update(Metric).where(Metric.user_id == identity).values(user_id=None))
        tx.execute(delete(UsageRollup).where(UsageRollup.user_id == identity))
        tx.execute(delete(User).where(User.id == identity))
        tx.execute(delete(Erasure).where(Erasure.user_id == identity))
    log.info("erasure.done", user=user)


def _erase_session(session: UUID) -> None:
    with transaction() as tx:
        own = [str(turn) for turn in tx.scalars(select(Turn.id).where(Turn.session_id == session))]
    transcripts.forget(str(session))
    with transaction() as tx:
        tx.execute(delete(Session).where(Session.id == session))
    for turn in own:
        # The meta with the fence stays for its hour: it lets a node that still writes know that nobody wants it.
        redis.client().delete(names.turn_stream(turn))
    ask_relay(names.CLOSE_SESSION, str(session))
