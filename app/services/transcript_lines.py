"""The lines of a transcript, read from the database in one moment's state: all branches, with who, when and what it took."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from app.core import keys
from app.core.db import transaction
from app.core.models import Message, Session, Turn, User
from app.services import sessions
from app.wire.envelope import Ring
from app.wire.errors import NotFound

VERSION: Final = 1
AT_ONCE: Final = 500
"""Rows in memory at a time, however long the session is."""


@contextmanager
def reading(session: str) -> Iterator[tuple[Iterator[dict[str, Any]], datetime]]:
    """Give a session's lines, and the time of the newest change that is in them; raise NotFound for no such session."""
    with transaction() as tx:
        # One state of all tables, however long the reading takes.
        tx.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        found = tx.get(Session, sessions.parse_id(session))
        covers = changed(tx, found.id) if found else None
        if found is None or covers is None:
            raise NotFound("This conversation is not here: it was deleted, or it never was.")
        yield _lines(tx, found), covers


def changed(tx: Transaction, session: UUID) -> datetime | None:
    """Return when a session last changed: a prompt came in, or a turn ended; None where there is no such session."""
    ended = select(func.max(Turn.finished_at)).where(Turn.session_id == session).scalar_subquery()
    return tx.scalar(select(func.greatest(Session.updated_at, ended)).where(Session.id == session))


def _lines(tx: Transaction, session: Session) -> Iterator[dict[str, Any]]:
    ring = keys.rest(str(session.id))
    owner = tx.scalar(select(User.name).where(User.id == session.user_id))
    yield {
        "kind": "session",
        "version": VERSION,
        "id": str(session.id),
        "title": sessions.title(session),
        "owner": owner,
        "created_at": session.created_at.isoformat(),
        "closed_at": session.closed_at.isoformat() if session.closed_at else None,
    }
    count = 0
    # Columns, not objects: what was read is not remembered by the transaction.
    columns = (Message.id, Message.parent_id, Message.role, Message.body, Message.created_at)
    query = select(*columns, *_TURN).outerjoin(Turn, Turn.reply_id == Message.id)
    query = query.where(Message.session_id == session.id).order_by(Message.id)
    for row in tx.execute(query.execution_options(yield_per=AT_ONCE)):
        count += 1
        yield {
            "kind": "message",
            "id": str(row.id),
            "parent": str(row.parent_id) if row.parent_id else None,
            "role": row.role,
            "author": owner if row.role == "user" else row.model,
            "created_at": row.created_at.isoformat(),
            "text": ring.open(row.body).decode(),
        } | ({"turn": _turn(row, ring)} if row.turn else {})
    query = select(Turn.prompt_id, *_TURN).where(Turn.session_id == session.id, Turn.reply_id.is_(None))
    for row in tx.execute(query.order_by(Turn.id).execution_options(yield_per=AT_ONCE)):
        yield {"kind": "turn", "prompt": str(row.prompt_id), **_turn(row, ring)}
    yield {"kind": "end", "messages": count}


_TURN: Final = (
    Turn.id.label("turn"), Turn.state, Turn.attempt, Turn.door, Turn.lane, Turn.node, Turn.model, Turn.sampling,
    Turn.left_out, Turn.prompt_tokens, Turn.completion_tokens, Turn.tokens_per_second, Turn.reason,
    Turn.created_at.label("asked_at"), Turn.finished_at,
)  # fmt: skip


def _turn(row: Any, ring: Ring) -> dict[str, Any]:
    return {
        "id": str(row.turn),
        "state": row.state,
        "attempt": row.attempt,
        "door": row.door,
        "lane": row.lane,
        "node": row.node,
        "model": row.model,
        "sampling": row.sampling,
        "left_out": row.left_out,
        "usage": {
            "prompt_tokens": row.prompt_tokens,
            "completion_tokens": row.completion_tokens,
            "tokens_per_second": row.tokens_per_second,
        },
        "reason": ring.open(row.reason).decode() if row.reason else None,
        "asked_at": row.asked_at.isoformat(),
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }
