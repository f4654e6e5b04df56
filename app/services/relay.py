"""What the discord lane asks of the platform: how a turn stands, how an attempt ended, the record of a finished turn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import Message, Turn
from app.services import audit, replay, sessions, turns
from app.wire import names
from app.wire.errors import EnvelopeForged
from app.wire.jobs import Outcome
from app.wire.states import Door, Lane, TurnState

AUDIT_EVERY_SECONDS = 60
"""One record for each reason, author and channel in this time; the counter counts them all."""
SUSPICIOUS_AT_NODES: Final = ("forged", "old", "stranger", "unreadable", "copied")
"""Why a node does not believe a message: it does not open, is too old, is not the Server-Bot's, makes no sense, or carries
an envelope that stood in another one."""
AT_NODES: Final = (*SUSPICIOUS_AT_NODES, "empty", "twice", "late", "repeat")
REMEMBER_SECONDS: Final = 7 * 24 * 3600
"""How long a node's counts are known after it was last heard: a node that comes back after that is counted anew."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a turn stands in PostgreSQL."""

    session: str
    state: TurnState
    attempt: int
    node: str | None
    lane: str | None

    def runs(self, attempt: int, node: str) -> bool:
        """Say whether this very attempt is under way on this node."""
        return self.state is TurnState.RUNNING and (self.attempt, self.node) == (attempt, node)


def standing(turn: str) -> Standing | None:
    """Return how a turn stands; None where it is gone."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None:
            return None
        return Standing(str(row.session_id), TurnState(row.state), row.attempt, row.node, row.lane)


def finish(turn: str, attempt: int, node: str, session: str, said: bytes) -> bool:
    """Take in how an attempt ended, as its last frame says; False where the text on the stream is not that reply."""
    text = replay.text(turn, session)
    try:
        body: dict[str, Any] = orjson.loads(said)
        outcome = Outcome(**(body | {"turn": turn, "attempt": attempt, "text": text}))
        TurnState(outcome.state)
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise EnvelopeForged from error
    if hashlib.sha256(text.encode()).hexdigest() != outcome.sha256:
        return False
    turns.finish(turn, attempt, node, outcome.seal(keys.node(node), session))
    return True


def cut_off(turn: str, attempt: int, session: str, why: str) -> None:
    """Try a turn again whose attempt Discord has ended, or fail it in plain words where that was the last one."""
    if not turns.again(turn, attempt, why):
        turns.give_up(turn, attempt, session, TurnState.FAILED, why)


def refused(reason: str, author: int, channel: int, *, suspicious: bool) -> None:
    """Count a message that was not believed; what looks like somebody's doing is audited."""
    client = redis.client()
    client.hincrby(names.REFUSED, reason, 1)
    if suspicious and client.set(names.audited(reason, author, channel), 1, nx=True, ex=AUDIT_EVERY_SECONDS):
        with transaction() as tx:
            audit.record(tx, str(author), Door.DISCORD, "frame.refused", str(channel), reason=reason)


def refused_at(node: str, told: Mapping[str, Any]) -> None:
    """Take in what a node has refused since its start, by reason: count what is new, and audit what looks like somebody's doing."""
    counts = {reason: count for reason in AT_NODES if isinstance(count := told.get(reason), int) and count > 0}
    if not counts:
        return
    key = names.node_refused(node)
    with redis.client().pipeline(transaction=True) as pipe:
        pipe.hgetall(key)
        pipe.hset(key, mapping=counts)
        pipe.expire(key, REMEMBER_SECONDS)
        before = {reason.decode(): int(count) for reason, count in pipe.execute()[0].items()}
    for reason, count in counts.items():
        # A smaller number is that of a node which began anew.
        new = count - before.get(reason, 0) if count >= before.get(reason, 0) else count
        if not new:
            continue
        redis.client().hincrby(names.REFUSED, f"node_{reason}", new)
        if reason in SUSPICIOUS_AT_NODES:
            with transaction() as tx:
                audit.record(tx, node, Door.DISCORD, "frame.refused", node, reason=reason, count=new)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The record of a finished turn that went by the queue lane."""

    session: str
    attempt: int
    record: bytes = field(repr=False)
    since: datetime
    """When the turn ended; no mirror of it can be older."""


def mirror(turn: str) -> Mirrored | None:
    """Return the record of a finished turn; None where it is gone, or stands in Discord already."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None or row.lane == Lane.DISCORD.value or not TurnState(row.state).final:
            return None
        ring = keys.rest(str(row.session_id))
        reply = tx.get(Message, row.reply_id) if row.reply_id else None
        record = {
            "prompt": ring.open(tx.get_one(Message, row.prompt_id).body).decode(),
            "reply": ring.open(reply.body).decode() if reply else "",
            "state": row.state,
            "reason": sessions.reason(row),
            "model": row.model,
            "node": row.node,
            "created_at": row.created_at.isoformat(),
            "finished_at": row.finished_at.isoformat() if row.finished_at else None,
        }
        return Mirrored(str(row.session_id), row.attempt, orjson.dumps(record), row.finished_at or row.created_at)
