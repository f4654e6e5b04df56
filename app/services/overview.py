"""How things stand, in few words: for one person, and for all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import aliased

from app.core import keys
from app.core.db import transaction
from app.core.models import DiscordChat, Message, Session, Turn
from app.services import dispatch, estimate, nodes, queue, sessions
from app.wire.states import Door, TurnState

AT_ONCE: Final = 100
"""Messages of a conversation that are read at once; each may be some hundred kilobytes."""


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
    """Return a person's newest turn whose prompt came by a door, in a session or in any; None for none.

    Where no session is named, not one of those that have a thread of Discord to themselves: what is said there is private.
    """
    first = aliased(Turn)
    came = select(first.door).where(first.prompt_id == Turn.prompt_id).order_by(first.id).limit(1).scalar_subquery()
    query = select(Turn.id).where(Turn.user_id == UUID(user), Turn.door == door.value, came == door.value)
    if session:
        query = query.where(Turn.session_id == UUID(session))
    else:
        query = query.where(~exists().where(DiscordChat.session_id == Turn.session_id, DiscordChat.thread))
    with transaction() as tx:
        found = tx.scalar(query.order_by(Turn.id.desc()).limit(1))
        return str(found) if found else None


def asked_by(turn: str) -> str | None:
    """Return by which door the prompt of a turn came first; later ones may answer it once more by others."""
    first = aliased(Turn)
    query = select(first.door).join(Turn, Turn.prompt_id == first.prompt_id).where(Turn.id == sessions.parse_id(turn))
    with transaction() as tx:
        return tx.scalar(query.order_by(first.id).limit(1))


def spoken(session: str, user: str, door: Door) -> Iterator[tuple[str, str, str | None]]:
    """Yield time, role and text of a session's messages, the oldest first; None for the text that came by another door.

    However long the session is, few of its messages are held at once. Raises NotFound where it is not theirs.
    """
    after, ring = UUID(int=0), keys.rest(str(sessions.parse_id(session)))
    while True:
        # A transaction a page: the database does not wait for whoever reads.
        with transaction() as tx:
            found = sessions.owned(tx, session, user)
            query = select(Message).where(Message.session_id == found.id, Message.id > after)
            rows = tx.scalars(query.order_by(Message.id).limit(AT_ONCE)).all()
            here = _here(tx, found.id, [one.id for one in rows], door)
            page = [(one.created_at.isoformat(), one.role, one.body if one.id in here else None) for one in rows]
        for at, role, body in page:
            yield at, role, None if body is None else ring.open(body).decode()
        if len(rows) < AT_ONCE:
            return
        after = rows[-1].id


def _here(tx: Transaction, session: UUID, messages: list[UUID], door: Door) -> set[UUID]:
    """Return those of a session's messages of which a turn by this door had part, and none by another."""
    query = select(Turn.door, Turn.prompt_id, Turn.reply_id).where(
        Turn.session_id == session, or_(Turn.prompt_id.in_(messages), Turn.reply_id.in_(messages))
    )
    doors: dict[UUID | None, set[str]] = {}
    for came, *parts in tx.execute(query):
        for one in parts:
            doors.setdefault(one, set()).add(came)
    return {one for one in messages if doors.get(one) == {door.value}}
