"""Giving waiting turns to nodes: any process may do it at any time, there is no leader."""

import math
from statistics import median
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import update

from app.core import clock, keys, redis
from app.core.broker import enqueue, enqueue_job
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Turn, now
from app.services import events, queue, replay, sessions, wishes
from app.services.queue import Lease
from app.wire import hops, names
from app.wire.errors import MeatLizardError
from app.wire.jobs import Job
from app.wire.states import Lane, Role, TurnState

log = structlog.get_logger(__name__)

RECENT_TURNS: Final = 50
"""Turns whose durations make the estimate."""
WATCHED: Final = 200
"""Waiting turns that are told their place; whoever stands further back is told when they come nearer."""


def dispatch() -> int:
    """Lease and send waiting turns until no slot is free or nobody waits; return how many were sent."""
    sent = 0
    while lease := queue.pick():
        try:
            if _send(lease):
                sent += 1
        except MeatLizardError as error:
            # The turn stays leased and says nothing; the sweeper takes it up again when the lease runs out.
            log.warning("dispatch.failed", turn=lease.turn, attempt=lease.attempt, error=str(error))
            break
    return sent


def _send(lease: Lease) -> bool:
    with transaction() as tx:
        # The row is written before the task goes out: an attempt that PostgreSQL does not know could be given out
        # twice under the same number, and the fence would not tell the two apart.
        turn = tx.scalar(
            update(Turn)
            .where(
                Turn.id == UUID(lease.turn),
                Turn.attempt < lease.attempt,
                Turn.state.in_([TurnState.QUEUED.value, TurnState.RUNNING.value]),
                Turn.stopped.is_(False),
            )
            .values(
                attempt=lease.attempt,
                state=TurnState.RUNNING.value,
                node=lease.node,
                lane=lease.lane,
                leased_at=now(),
            )
            .returning(Turn)
        )
        if turn is None:
            queue.release(lease.turn, lease.attempt)
            return False
        ring = keys.rest(lease.session)
        messages = [
            {"role": message.role, "content": ring.open(message.body).decode()}
            for message in sessions.branch(tx, turn.prompt_id)
        ]
        if settings().system_prompt and messages[0]["role"] != Role.SYSTEM:  # A program may bring its own.
            messages.insert(0, {"role": Role.SYSTEM.value, "content": settings().system_prompt})
        prefix = replay.text(lease.turn, lease.session) if lease.attempt > 1 else ""
        sampling = {
            "temperature": settings().temperature,
            "top_p": settings().top_p,
            "repeat_penalty": settings().repeat_penalty,
            "max_tokens": settings().max_tokens,
            **wishes.of(turn),
        }
    stamps = {hops.LEASED: float(lease.at_ms), hops.DISPATCHED: clock.now_ms()}
    job = Job(lease.turn, lease.attempt, lease.session, messages, sampling, prefix, lease.at_ms, stamps)
    envelope = job.seal(keys.node(lease.node))
    if lease.lane == Lane.DISCORD:
        words = (lease.turn, lease.attempt, lease.node, lease.session)
        enqueue(names.POST_PROMPT, *words, envelope, argsrepr=repr((*words, "<sealed>")))
    else:
        enqueue_job(lease.node, lease.turn, lease.attempt, envelope)
    return True


def announce_places() -> None:
    """Tell the turns that wait their place and the time left, where either has changed."""
    client = redis.client()
    turns = queue.waiting(WATCHED)
    if not turns:
        return
    with client.pipeline(transaction=False) as pipe:
        for turn in turns:
            pipe.hmget(names.turn_meta(turn), "session", "next", "place")
        facts = pipe.execute()
    slots = sum(node_slots())
    typical = typical_seconds()
    for index, (turn, (session, attempt, place)) in enumerate(zip(turns, facts, strict=True)):
        position = index + 1
        # Slots come free one after the other, on average one in each slot's share of a turn.
        eta = round(math.ceil(position * typical / slots), 0) if slots and typical else None
        told = f"{position}/{eta}"
        if session is None or (place or b"").decode() == told:
            continue
        client.hset(names.turn_meta(turn), "place", told)
        events.announce(session.decode(), turn, int(attempt) - 1, position, eta)


def place(turn: str) -> tuple[int, float | None] | None:
    """Return a waiting turn's position and the seconds left as they were last told; None where it does not wait."""
    told = redis.client().hget(names.turn_meta(turn), "place")
    if told is None or not redis.client().sismember(names.WAITING, turn):
        return None
    position, _, eta = told.decode().partition("/")
    return int(position), None if eta == "None" else float(eta)


def node_slots() -> list[int]:
    """Return the slots of each node that is ready."""
    client = redis.client()
    with client.pipeline(transaction=False) as pipe:
        for name in client.smembers(names.NODES):
            pipe.hmget(names.node_key(name.decode()), "state", "slots")
        return [int(slots) for state, slots in pipe.execute() if state == b"ready"]


def typical_seconds() -> float | None:
    """Return the median duration of recent turns, in seconds; None where there were none yet."""
    recent = redis.client().lrange(names.RECENT, 0, RECENT_TURNS - 1)
    return median(float(ms) for ms in recent) / 1000 if recent else None


def remember_duration(milliseconds: float) -> None:
    """Count a finished turn's duration into the estimate."""
    with redis.client().pipeline(transaction=False) as pipe:
        pipe.lpush(names.RECENT, milliseconds)
        pipe.ltrim(names.RECENT, 0, RECENT_TURNS - 1)
        pipe.execute()
