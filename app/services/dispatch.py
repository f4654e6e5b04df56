"""Giving waiting turns to nodes: any process may do it at any time, there is no leader."""

from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import text

from app.core import clock, keys, redis
from app.core.broker import enqueue, enqueue_job
from app.core.config import settings
from app.core.db import single
from app.core.models import now
from app.services import estimate, events, queue, replay, wishes
from app.services.queue import Lease
from app.wire import hops, names
from app.wire.errors import MeatLizardError
from app.wire.jobs import Job
from app.wire.states import Lane, Role

log = structlog.get_logger(__name__)

WATCHED: Final = 200
"""Waiting turns that are told their place; whoever stands further back is told when they come nearer."""
ETA_STEP: Final = 0.1
"""A time left is told anew when it has changed by more than this share of itself, or by a second."""

# The row is written before the task goes out: an attempt that PostgreSQL does not know could be given out twice under
# the same number. Which nodes there are is PostgreSQL's to say too: with a removed one's keys, whoever can write to Redis
# would have prompts sealed for it. In the same round trip: the conversation up to the prompt, from its root.
_LEASE: Final = text("""
with recursive turn as (
  update turns set attempt = :attempt, state = 'running', node = :node, lane = :lane, leased_at = :now
  where id = :turn and attempt < :attempt and state in ('queued', 'running') and not stopped
    and exists (select from nodes where name = :node and removed_at is null)
  returning prompt_id, session_id, sampling, form
), line as (
  select m.id, m.parent_id, m.role, m.body, 0 as depth from messages m join turn on m.id = turn.prompt_id
  union all
  select m.id, m.parent_id, m.role, m.body, line.depth + 1 from messages m join line on m.id = line.parent_id
)
select turn.session_id, turn.sampling, turn.form, line.role, line.body from turn, line order by line.depth desc
""")


def dispatch(lease: Lease | None = None) -> int:
    """Lease and send waiting turns until no slot is free or nobody waits; return how many were sent.

    Begins with `lease` where one was made already.
    """
    sent = 0
    lease = lease or queue.pick()
    while lease:
        try:
            if _send(lease):
                sent += 1
        except MeatLizardError as error:
            # The turn stays leased and says nothing; the sweeper takes it up again when the lease runs out.
            log.warning("dispatch.failed", turn=lease.turn, attempt=lease.attempt, error=str(error))
            break
        lease = queue.pick() if lease.more else None
    return sent


def _send(lease: Lease) -> bool:
    words = {"turn": UUID(lease.turn), "attempt": lease.attempt, "node": lease.node, "lane": lease.lane, "now": now()}
    # Not waited for on the disk: what a power cut takes is a lease, and the fence in Redis, or the next attempt's
    # number, tells the two apart (docs/decisions/0015).
    rows = single(_LEASE, words, soft=True)
    if not rows:
        queue.release(lease.turn, lease.attempt)
        return False
    envelope = _job(lease, rows).seal(keys.node(lease.node))
    if lease.lane == Lane.DISCORD:
        turn = (lease.turn, lease.attempt, lease.node, lease.session)
        enqueue(names.POST_PROMPT, *turn, envelope, argsrepr=repr((*turn, "<sealed>")))
    else:
        enqueue_job(lease.node, lease.turn, lease.attempt, envelope)
    return True


def _job(lease: Lease, rows: list[Any]) -> Job:
    ring = keys.rest(lease.session)
    messages = [{"role": row.role, "content": ring.open(bytes(row.body)).decode()} for row in rows]
    if settings().system_prompt and messages[0]["role"] != Role.SYSTEM:  # A program may bring its own.
        messages.insert(0, {"role": Role.SYSTEM.value, "content": settings().system_prompt})
    sampling = {
        "temperature": settings().temperature,
        "top_p": settings().top_p,
        "repeat_penalty": settings().repeat_penalty,
        "max_tokens": settings().max_tokens,
        **wishes.opened(rows[0].session_id, rows[0].sampling, rows[0].form),
    }
    prefix = replay.text(lease.turn, lease.session) if lease.attempt > 1 else ""
    event_key = keys.events(lease.node, lease.session, lease.turn, lease.attempt).dump()
    stamps = {hops.LEASED: float(lease.at_ms), hops.DISPATCHED: clock.now_ms()}
    return Job(lease.turn, lease.attempt, lease.session, messages, sampling, prefix, event_key, lease.at_ms, stamps)


def announce_places() -> None:
    """Tell the turns that wait their place and the time left, where either has changed."""
    client = redis.client()
    for turn, place in estimate.places(WATCHED):
        if not turn.session or not _differs(turn.place, place):
            continue
        client.hset(names.turn_meta(turn.turn), "place", _told(place))
        events.announce(turn.session, turn.turn, turn.attempt - 1, place.position, _rounded(place))


def place(turn: str) -> tuple[int, float | None] | None:
    """Return a waiting turn's position and the seconds left; None where it does not wait."""
    if not redis.client().sismember(names.WAITING, turn):
        return None
    for one, place in estimate.places(WATCHED):
        if one.turn == turn:
            return place.position, _rounded(place)
    return None


def _told(place: estimate.Place) -> str:
    return f"{place.position}/{'' if place.eta is None else round(place.eta, 2)}"


def _rounded(place: estimate.Place) -> float | None:
    return None if place.eta is None else round(place.eta, 1)


def _differs(told: str, place: estimate.Place) -> bool:
    position, _, eta = told.partition("/")
    if position != str(place.position) or bool(eta) != (place.eta is not None):
        return True
    if place.eta is None:
        return False
    # It grows less by itself while one waits: pages count down, so only a step of this size is news.
    return abs(float(eta) - place.eta) > max(1.0, ETA_STEP * place.eta)
