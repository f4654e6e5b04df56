"""The archive: sessions that a person has closed; their transcripts are kept, and they can be opened again."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session as Transaction

from app.core.broker import ask_relay
from app.core.db import transaction
from app.core.models import Session, Transcript, Turn, now
from app.services import place, sessions, transcripts
from app.services.sessions import Summary
from app.wire import names
from app.wire.errors import BadInput, NotFound


@dataclass(frozen=True, slots=True)
class Archived:
    """A closed session as its list shows it."""

    id: str
    title: str
    closed_at: datetime
    transcript: str
    """`waiting`, `stored`, `expired`, or empty where it has none."""
    messages: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the archive, and the place behind which the rest of it is; None where that was all."""

    sessions: list[Archived]
    next: str | None


def close(session: str, user: str) -> None:
    """Close a person's session: it leaves their list and Discord, and its transcript is kept."""
    with transaction() as tx:
        found = sessions.owned(tx, session, user)
        if tx.scalar(select(Turn.id).where(Turn.session_id == found.id, Turn.finished_at.is_(None)).limit(1)):
            raise BadInput("A reply is still under way here. Stop it, or wait for its end.")
        found.closed_at = now()
        transcripts.ask(tx, found.id, "closed")
    transcripts.hurry(session)
    ask_relay(names.CLOSE_SESSION, session)


def reopen(session: str, user: str) -> Summary:
    """Put a closed session back among a person's sessions."""
    with transaction() as tx:
        found = closed(tx, session, user)
        found.closed_at, found.updated_at = None, now()
        return Summary(str(found.id), sessions.title(found), found.updated_at)


def remove(session: str, user: str) -> None:
    """Delete a closed session for good; its transcript goes at the next sweep."""
    with transaction() as tx:
        tx.execute(delete(Session).where(Session.id == closed(tx, session, user).id))


def listed(user: str, before: str = "", most: int = 100) -> Page:
    """Return sessions that a person has closed, the latest first, those behind `before`, the `next` of another page."""
    query = select(Session, Transcript).outerjoin(Transcript, Transcript.session_id == Session.id)
    query = query.where(Session.user_id == UUID(user), Session.closed_at.is_not(None))
    if before:
        query = query.where(tuple_(Session.closed_at, Session.id) < tuple_(*place.read(before)))
    with transaction() as tx:
        rows = tx.execute(query.order_by(Session.closed_at.desc(), Session.id.desc()).limit(most + 1)).all()
    found = [
        Archived(str(one.id), sessions.title(one), one.closed_at or now(), kept.state if kept else "", kept.messages if kept else None)
        for one, kept in rows[:most]
    ]
    last = rows[most - 1][0] if len(rows) > most else None
    return Page(found, place.told(last.closed_at, last.id) if last and last.closed_at else None)


def closed(tx: Transaction, session: str, user: str) -> Session:
    """Return a person's own closed session, or raise NotFound."""
    found = tx.get(Session, sessions.parse_id(session))
    if found is None or str(found.user_id) != user or found.closed_at is None:
        raise NotFound("This conversation is not in your archive.")
    return found


def check(session: str, user: str) -> None:
    """Raise NotFound unless the session is this person's own, open or closed."""
    with transaction() as tx:
        found = tx.get(Session, sessions.parse_id(session))
        if found is None or str(found.user_id) != user:
            raise NotFound
