"""How things stand, in few words: for one person, and for all."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from app.core import keys
from app.core.db import transaction
from app.core.models import Message, Session, Turn
from app.services import dispatch, estimate, nodes, queue, sessions
from app.wire.states import Door, TurnState


@dataclass(frozen=True, slots=True)
class Mine:
    """An unfinished turn of one's own."""

    turn: str
    session: str
    title: str
    door: str
    state: TurnState
    place: tuple[int, float | None] | None
    """Position, and the seconds left."""


@dataclass(frozen=True, slots=True)
class Platform:
    """How busy everything is."""

    ready: int
    """Nodes that take turns now."""
    nodes: int
    slots: int
    busy: int
    waiting: int
    typical: float | None
    """Seconds that a turn takes, by the latest ones."""


def mine(user: str) -> list[Mine]:
    """Return a person's turns that wait or run, the oldest first."""
    query = (
        select(Turn, Session)
        .join(Session, Session.id == Turn.session_id)
        .where(Turn.user_id == UUID(user), Turn.finished_at.is_(None))
        .order_by(Turn.id)
    )
    with transaction() as tx:
        rows = [(turn, sessions.title(session)) for turn, session in tx.execute(query)]
    return [
        Mine(str(turn.id), str(turn.session_id), title, turn.door, TurnState(turn.state), dispatch.place(str(turn.id)))
        for turn, title in rows
    ]


def platform() -> Platform:
    """Return how busy everything is."""
    known = nodes.listed()
    ready = [node for node in known if node.state == "ready"]
    slots, busy = sum(node.slots for node in ready), sum(node.busy for node in ready)
    return Platform(len(ready), len(known), slots, busy, len(queue.waiting()), estimate.typical_seconds())


def latest(user: str, session: str | None, door: Door) -> str | None:
    """Return a person's newest turn in a session, or from a door where none is named; None for none."""
    query = select(Turn.id).where(Turn.user_id == UUID(user)).order_by(Turn.id.desc()).limit(1)
    query = query.where(Turn.session_id == UUID(session) if session else Turn.door == door.value)
    with transaction() as tx:
        found = tx.scalar(query)
        return str(found) if found else None


def spoken(session: str, user: str, door: Door) -> Iterator[tuple[str, str, str | None]]:
    """Yield time, role and text of a session's messages, the oldest first; None for the text that came by another door."""
    with transaction() as tx:
        found = sessions.owned(tx, session, user)
        ring = keys.rest(str(found.id))
        turns = tx.scalars(select(Turn).where(Turn.session_id == found.id)).all()
        here = {one for turn in turns if turn.door == door.value for one in (turn.prompt_id, turn.reply_id)}
        here -= {one for turn in turns if turn.door != door.value for one in (turn.prompt_id, turn.reply_id)}
        query = select(Message).where(Message.session_id == found.id).order_by(Message.id)
        for one in tx.scalars(query).all():
            yield one.created_at.isoformat(), one.role, ring.open(one.body).decode() if one.id in here else None
