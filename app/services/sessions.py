"""Conversations: their messages, their titles; every look at one checks whose it is."""

import contextlib
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, delete, literal, select
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import aliased

from app.core import keys, redis
from app.core.broker import ask_relay
from app.core.db import single, transaction
from app.core.models import Message, Session, Turn, new_id, now
from app.core.prepared import Statement
from app.services import underway
from app.wire import names
from app.wire.errors import BadInput, NotFound
from app.wire.states import Door, TurnState

TITLE_LENGTH: Final = 80
"""Characters of a title; the first words of the first prompt stand there until someone writes another."""

NOT_HERE: Final = "This conversation is not here: it was deleted, or it is not yours."
UNTITLED: Final = "Untitled"
BLANK: Final = "\u115f\u1160\u3164\uffa0\u2800"


@dataclass(frozen=True, slots=True)
class Summary:
    """A session as a list shows it."""

    id: str
    title: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """A session as its page shows it: the whole tree of messages, and the turns that have no reply there."""

    id: str
    title: str
    updated_at: datetime
    messages: list[dict[str, Any]] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)


def parse_id(value: str) -> UUID:
    """Read an id; what is not one is not found, as any id that is nobody's."""
    try:
        return UUID(value)
    except ValueError as error:
        raise NotFound from error


def owned(tx: Transaction, session: str, user: str) -> Session:
    """Return a person's own session, or raise NotFound."""
    found = tx.get(Session, parse_id(session))
    if found is None or str(found.user_id) != user or found.closed_at is not None:
        raise NotFound(NOT_HERE)
    return found


_CHECK: Final = Statement(
    "select 1 from sessions where id = cast(:session as uuid) and user_id = cast(:user as uuid) and closed_at is null"
)


def check(session: str, user: str) -> None:
    """Raise NotFound unless the session is this person's own."""
    if not single(_CHECK, {"session": parse_id(session), "user": UUID(user)}):
        raise NotFound(NOT_HERE)


def create(user: str) -> Summary:
    """Open a session; its Discord channel is asked for after the commit, and made behind its first words."""
    with transaction() as tx:
        session = Session(id=new_id(), user_id=UUID(user), updated_at=now())
        tx.add(session)
    # What speaks in the channel sooner asks again.
    ask_relay(names.OPEN_SESSION, str(session.id), countdown=names.OPEN_AFTER_SECONDS)
    return Summary(str(session.id), "", session.updated_at)


def title(session: Session | Row[UUID, bytes | None, datetime]) -> str:
    """Return a session's title in plain text; empty where it has none yet."""
    return keys.rest(str(session.id)).open(session.title).decode() if session.title else ""


def shortened(words: str) -> str:
    """Return the first words of `words` as a title; a word of ours where nothing of them can be seen."""
    line = " ".join("".join(char if char.isprintable() else " " for char in words[:2000]).split())
    if not any(_visible(char) for char in line):
        return UNTITLED
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…"


def _visible(char: str) -> bool:
    # Letters that are drawn as nothing (Hangul fillers, Braille blank) are printable, and no name for a conversation.
    return unicodedata.category(char)[0] in "LNPS" and char not in BLANK


def set_title(session: Session, words: str) -> str:
    """Give a session a title made of the first words of `words`, and return it."""
    line = shortened(words)
    session.title = keys.rest(str(session.id)).seal(line.encode())
    return line


def rename(session: str, user: str, words: str, door: Door = Door.WEB) -> Summary:
    """Give a person's session the title they wrote at a door: it tells later where the words may be shown."""
    if not words.strip():
        raise BadInput("A title needs at least one character.")
    with transaction() as tx:
        found = owned(tx, session, user)
        line = set_title(found, words)
        if found.door != Door.API.value:
            found.door = door.value
        return Summary(str(found.id), line, found.updated_at)


def unfinished(session: str, user: str) -> list[str]:
    """Return the turns of a person's session that wait or run."""
    with transaction() as tx:
        found = owned(tx, session, user)
        query = select(Turn.id).where(Turn.session_id == found.id, Turn.finished_at.is_(None))
        return [str(turn) for turn in tx.scalars(query)]


def tip(session: str, user: str) -> str | None:
    """Return the message after which a person's session goes on where no branch is chosen: its newest; None where empty."""
    with transaction() as tx:
        found = owned(tx, session, user)
        query = select(Message.id).where(Message.session_id == found.id).order_by(Message.id.desc()).limit(1)
        newest = tx.scalar(query)
        return str(newest) if newest else None


def remove(session: str, user: str) -> None:
    """Delete a person's session with all its messages and turns; what a node is still writing is counted when it ends."""
    with transaction() as tx:
        found = owned(tx, session, user)
        # Locked, so that each either ends before, with its row, or after, without it: never both.
        running = select(Turn).where(Turn.session_id == found.id, Turn.state == TurnState.RUNNING.value)
        underway.leave_behind(tx.scalars(running.order_by(Turn.id).with_for_update()))
        tx.execute(delete(Session).where(Session.id == found.id))
    # Pages that miss this are told with their next prompt.
    with contextlib.suppress(*redis.ERRORS):
        redis.client().publish(names.session_channel(str(found.id)), names.SESSION_GONE)
    ask_relay(names.CLOSE_SESSION, session)


def show(session: str, user: str) -> Shown:
    """Return a person's session with its messages, oldest first."""
    with transaction() as tx:
        found = owned(tx, session, user)
        ring = keys.rest(session)
        replied = {turn.reply_id: turn for turn in tx.scalars(select(Turn).where(Turn.session_id == found.id)) if turn.reply_id}
        messages = []
        for message in tx.scalars(select(Message).where(Message.session_id == found.id).order_by(Message.id)):
            body = ring.open(message.body).decode()
            shown = {
                "id": str(message.id),
                "parent": str(message.parent_id) if message.parent_id else None,
                "role": message.role,
                "text": body,
                "created_at": message.created_at.isoformat(),
            }
            if turn := replied.get(message.id):
                shown |= reply_facts(turn)
            messages.append(shown)
        query = select(Turn).where(Turn.session_id == found.id, Turn.reply_id.is_(None), Turn.state != TurnState.DONE.value)
        turns = [turn_facts(turn) for turn in tx.scalars(query.order_by(Turn.id))]
        return Shown(session, title(found), found.updated_at, messages, turns)


def reply_facts(turn: Turn) -> dict[str, Any]:
    """Return what stands below a reply: who made it, how fast, and how it ended."""
    usage = {
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "tokens_per_second": turn.tokens_per_second,
    }
    return {
        "turn": str(turn.id),
        "state": turn.state,
        "model": turn.model,
        "node": turn.node,
        "lane": turn.lane,
        "usage": usage,
        "left_out": turn.left_out,
        "attempt": turn.attempt,
        "reason": reason(turn),
        "finish_reason": turn.finish_reason,
    }


def turn_facts(turn: Turn) -> dict[str, Any]:
    """Return an unfinished or fruitless turn as the page shows it below its prompt."""
    return {
        "id": str(turn.id),
        "message": str(turn.prompt_id),
        "state": turn.state,
        "attempt": turn.attempt,
        "reason": reason(turn),
    }


def reason(turn: Turn) -> str | None:
    """Return why a turn failed, in plain words."""
    return keys.rest(str(turn.session_id)).open(bytes(turn.reason)).decode() if turn.reason else None


def branch(tx: Transaction, leaf: UUID) -> list[Message]:
    """Return the messages from the root of the tree to `leaf`, oldest first, in one query however long it is."""
    line = select(Message.id, Message.parent_id, literal(0).label("depth")).where(Message.id == leaf).cte(recursive=True)
    above = aliased(Message)
    line = line.union_all(
        select(above.id, above.parent_id, line.c.depth + 1).join(line, above.id == line.c.parent_id)
    )
    return list(tx.scalars(select(Message).join(line, Message.id == line.c.id).order_by(line.c.depth.desc())))
