"""Conversations that a program sends whole with every prompt: kept as given, in no list, and forgotten after a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, select

from app.core import keys
from app.core.broker import ask_relay
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Session, Turn, new_id, now
from app.services import intake
from app.wire import names
from app.wire.errors import BadInput
from app.wire.states import Door, Role

log = structlog.get_logger(__name__)

LONGEST: Final = 1000
"""Messages of one conversation; each becomes a row."""
FORGOTTEN_AT_ONCE: Final = 500
"""Conversations removed in one transaction, so that none holds the table for long."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message as its program has it."""

    role: Role
    text: str


def begin(user: str, history: Sequence[Said]) -> tuple[str, str | None]:
    """Keep what was said before a prompt, sealed; return the session and the message that the prompt stands below.

    A program keeps its conversations itself and sends them whole, so each request is a session of its own here. Messages
    without a word are left out; raise BadInput where there are too many, or one is too long.
    """
    if len(history) > LONGEST:
        raise BadInput(f"This conversation has {len(history):,} messages; {LONGEST:,} is the limit. Leave out the oldest.")
    session = Session(id=new_id(), user_id=UUID(user), updated_at=now(), door=Door.API.value)
    ring = keys.rest(str(session.id))
    rows: list[Message] = []
    for one in history:
        if one.text.strip():
            words = intake.clean(one.text)
            above = rows[-1].id if rows else None
            body = ring.seal(words.encode())
            rows.append(Message(id=new_id(), session_id=session.id, parent_id=above, role=one.role.value, body=body))
    with transaction() as tx:
        tx.add(session)
        tx.flush()
        tx.add_all(rows)
    return str(session.id), str(rows[-1].id) if rows else None


def forget_old() -> int:
    """Delete the API's conversations whose time is over and that have nothing under way; return how many."""
    oldest = now() - timedelta(hours=settings().api_keep_hours)
    busy = select(Turn.session_id).where(Turn.finished_at.is_(None))
    forgotten = 0
    while True:
        with transaction() as tx:
            query = select(Session.id).where(Session.door == Door.API.value, Session.updated_at < oldest)
            found = list(tx.scalars(query.where(Session.id.not_in(busy)).limit(FORGOTTEN_AT_ONCE)))
            tx.execute(delete(Session).where(Session.id.in_(found)))
        for session in found:
            ask_relay(names.CLOSE_SESSION, str(session))
        forgotten += len(found)
        if len(found) < FORGOTTEN_AT_ONCE:
            return forgotten
