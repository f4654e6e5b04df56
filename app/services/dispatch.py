"""Giving waiting turns to nodes: any process may do it at any time, there is no leader."""

from collections.abc import Sequence
from typing import Any, Final

import structlog

from app.core import clock, keys, redis
from app.core.broker import enqueue, enqueue_job
from app.core.config import settings
from app.core.db import single
from app.core.models import now
from app.core.prepared import Statement
from app.services import estimate, events, queue, replay, wishes
from app.services.queue import Lease
from app.wire import hops, names
from app.wire.errors import EnvelopeError, MeatLizardError
from app.wire.jobs import Job
from app.wire.states import Lane, Role

log = structlog.get_logger(__name__)

WATCHED: Final = 200
"""Waiting turns that are told their place; whoever stands further back is told when they come nearer."""
ETA_STEP: Final = 0.1
"""A time left is told anew when it has changed by more than this share of itself, or by a second."""
CONVERSATION_BYTES: Final = 3 << 20
"""Of a conversation's newest part, sealed as it lies: about 2 MiB of text, more than models at home read and more than a
program may send at once. Without an end to it one person's could take all the memory of web process, Redis and node."""
BUNCH: Final = 32
"""Turns given out in one step: so many may have to wait for the sweeper where their dispatcher dies in the middle."""

# The rows are written before the tasks go out: an attempt that PostgreSQL does not know could be given out twice under
# the same number. Which nodes there are is PostgreSQL's to say too: with a removed one's keys, whoever can write to Redis
# would have prompts sealed for it. In the same round trip: the conversation up to each prompt, its newest part first.
_LINE: Final = """
line as (
  select turn.id as turn, m.parent_id, m.role, m.body, 0 as depth, octet_length(m.body) as size
  from turn join messages m on m.id = turn.prompt_id
  union all
  select line.turn, m.parent_id, m.role, m.body, line.depth + 1, line.size + octet_length(m.body)
  from line join messages m on m.id = line.parent_id where line.size + octet_length(m.body) <= cast(:largest as int)
)
select turn.id, turn.session_id, turn.sampling, turn.form, line.parent_id, line.role, line.body
from turn join line on line.turn = turn.id order by turn.id, line.depth desc
"""
_LEASE: Final = Statement(f"""
with recursive lease as (
  select * from unnest(cast(:turn as uuid[]), cast(:attempt as int[]), cast(:node as text[]), cast(:lane as text[]))
    as given(turn, attempt, node, lane)
), free as (
  select t.id, l.* from turns t join lease l on l.turn = t.id
  where t.attempt < l.attempt and t.state in ('queued', 'running') and not t.stopped
    and exists (select from nodes where name = l.node and removed_at is null)
  order by t.id for no key update of t
), turn as (
  update turns t set attempt = f.attempt, state = 'running', node = f.node, lane = f.lane, leased_at = cast(:now as timestamptz)
  from free f where t.id = f.id returning t.id, t.prompt_id, t.session_id, t.sampling, t.form
), {_LINE}""")  # noqa: S608 - both parts are ours.
_RUNNING: Final = Statement(f"""
with recursive turn as (
  select id, prompt_id, session_id, sampling, form from turns t
  where id = cast(:turn as uuid) and attempt = cast(:attempt as int) and node = cast(:node as text) and state = 'running'
    and exists (select from nodes where name = t.node and removed_at is null)
), {_LINE}""")  # noqa: S608 - both parts are ours.
# Only for a conversation that was cut: 5,000 messages take 40 ms, 100,000 half a second.
_OLDER: Final = Statement("""
with recursive line as (
  select parent_id from messages where id = cast(:message as uuid)
  union all
  select m.parent_id from line join messages m on m.id = line.parent_id
)
select count(*) as messages from line""")


def dispatch(leases: Sequence[Lease] = ()) -> int:
    """Lease and send waiting turns until no slot is free or nobody waits; return how many were sent.

    Begins with `leases` where some were made already.
    """
    sent = 0
    leases = leases or queue.pick_all(BUNCH)
    while leases:
        try:
            sent += _send(leases)
        except MeatLizardError as error:
            # The turns stay leased and say nothing; the sweeper takes them up again when the leases run out.
            log.warning("dispatch.failed", turns=[one.turn for one in leases], error=str(error))
            break
        leases = queue.pick_all(BUNCH) if leases[-1].more else []
    return sent


def _send(leases: Sequence[Lease]) -> int:
    words: dict[str, Any] = {name: [getattr(one, name) for one in leases] for name in ("turn", "attempt", "node", "lane")}
    # Not waited for on the disk: what a crash takes is a lease, and the fence in Redis, or the next attempt's number,
    # tells the two apart (docs/decisions/0015).
    rows: dict[str, list[Any]] = {}
    for row in single(_LEASE, words | {"now": now(), "largest": CONVERSATION_BYTES}, soft=True):
        rows.setdefault(str(row.id), []).append(row)
    sent = 0
    for lease in leases:
        if lease.turn not in rows:
            queue.release(lease.turn, lease.attempt)
            continue
        try:
            envelope = _job(lease, rows[lease.turn]).seal(keys.node(lease.node))
        except EnvelopeError as error:
            # Sealed with a key that is gone: it keeps no other from its node.
            log.warning("dispatch.failed", turn=lease.turn, attempt=lease.attempt, error=str(error))
            continue
        if lease.lane == Lane.DISCORD:
            _post(lease, envelope)
        else:
            enqueue_job(lease.node, lease.turn, lease.attempt, envelope)
        sent += 1
    return sent


def write_again(turn: str, attempt: int, node: str) -> None:
    """Write the row of a lease once more, where PostgreSQL lost it when it crashed and Redis knows it still."""
    fence, leased, lane = redis.client().hmget(names.turn_meta(turn), "fence", "node", "lane")
    if lane and (fence, leased) == (str(attempt).encode(), node.encode()):
        log.info("lease.again", turn=turn, attempt=attempt, node=node)
        words: dict[str, Any] = {"turn": [turn], "attempt": [attempt], "node": [node], "lane": [lane.decode()]}
        single(_LEASE, words | {"now": now(), "largest": 0})


def post_again(lease: Lease) -> bool:
    """Have the prompt of a running attempt of the discord lane posted, where the task that was to do so may be lost.

    The same attempt: a prompt that stands in Discord already is not posted again, or refused by its node. False where the
    attempt is over.
    """
    words = {"turn": lease.turn, "attempt": lease.attempt, "node": lease.node, "largest": CONVERSATION_BYTES}
    rows = list(single(_RUNNING, words))
    if rows:
        _post(lease, _job(lease, rows).seal(keys.node(lease.node)))
    return bool(rows)


def _post(lease: Lease, envelope: str) -> None:
    turn = (lease.turn, lease.attempt, lease.node, lease.session)
    enqueue(names.POST_PROMPT, *turn, envelope, argsrepr=repr((*turn, "<sealed>")))


def _job(lease: Lease, rows: list[Any]) -> Job:
    ring = keys.rest(lease.session)
    while rows[0].parent_id and rows[0].role == Role.ASSISTANT:
        rows = rows[1:]  # What is left of a conversation begins with a question: many templates refuse another beginning.
    left_out = single(_OLDER, {"message": rows[0].parent_id})[0].messages if rows[0].parent_id else 0
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
    return Job(lease.turn, lease.attempt, lease.session, messages, sampling, prefix, event_key, lease.at_ms, stamps, left_out)


def announce_places() -> None:
    """Tell the turns that wait their place and the time left, where either has changed."""
    for turn, place in estimate.places(WATCHED):
        if not turn.session or not _differs(turn.place, place):
            continue
        _note(turn.turn, _told(place))
        events.announce(turn.session, turn.turn, turn.attempt - 1, place.position, _rounded(place))


def _note(turn: str, told: str) -> None:
    key = names.turn_meta(turn)
    with redis.client().pipeline(transaction=True) as pipe:
        pipe.hset(key, "place", told)
        # A turn that has left meanwhile may have no key any more: the one that this makes shall not stay for ever.
        pipe.expire(key, names.STREAM_TTL_SECONDS, nx=True)
        pipe.execute()


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
