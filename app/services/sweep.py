"""Making Redis agree with PostgreSQL again: whatever was lost on the way is taken up from the turn rows."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from app.core import redis
from app.core.db import transaction
from app.core.models import Session, Turn, User
from app.services import anew, dispatch, limits, nodes, outcomes, queue, shares, turns
from app.services.queue import Lease
from app.wire import names
from app.wire.errors import EnvelopeError
from app.wire.states import Lane, TurnState

log = structlog.get_logger(__name__)

RUNNING: Final = TurnState.RUNNING.value
LOCK: Final = 4_711_002
"""Advisory lock: two sweepers at once do no harm, but twice the work."""
LEASE: Final = {Lane.QUEUE: names.LEASE_SECONDS, Lane.DISCORD: 45}
"""Seconds without a sign of life after which an attempt is given up, by lane."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What Redis knows of a turn."""

    fence: int
    silent_seconds: float
    closed: bool
    waits: bool
    posted: bool
    """Whether the prompt of the newest attempt is known to stand in Discord, or was sent there once more."""


def sweep() -> int:
    """Bring every unfinished turn back to where it moves; return how many needed it.

    Where somebody wrote into Redis what cannot be there, the queue is thrown away and laid anew.
    """
    try:
        return _sweep()
    except anew.DAMAGE as error:
        if not (anew.damage(error) and anew.begin()):
            raise
        return _sweep()


def _sweep() -> int:
    with transaction() as tx:
        if not tx.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
            return 0
        unfinished = _unfinished(tx)
        # Before the nodes are known again: a Redis that was emptied would take them for free and give them more turns
        # than they have slots.
        forgotten = {turn.id for turn in unfinished if turn.state == RUNNING and restore(turn)}
        nodes.remember(tx)
        mended = sum(_mended(tx, turn, turn.id in forgotten) for turn in unfinished)
    _release_orphans()
    queue.free_lost_slots()
    dispatch.dispatch()
    dispatch.announce_places()
    return mended


def restore(turn: Turn) -> bool:
    """Write what PostgreSQL has of a running turn into a Redis that lost it; False where it was there."""
    if turn.node is None or turn.lane is None:
        return False
    return queue.restore(str(turn.id), turn.attempt, turn.node, turn.lane, str(turn.user_id), str(turn.session_id))


def restore_one(identity: str, attempt: int, node: str) -> bool:
    """Do so for one turn, asked for by the node that runs this very attempt; whoever writes one that is over hears that."""
    with transaction() as tx:
        turn = tx.get(Turn, UUID(identity))
        if turn is None or TurnState(turn.state).final:
            queue.dismiss(identity, attempt)
            return False
        asked = (turn.state, turn.attempt, turn.node) == (RUNNING, attempt, node)
        return asked and restore(turn)


def _unfinished(tx: Transaction) -> list[Turn]:
    query = select(Turn).where(Turn.state.in_([TurnState.QUEUED.value, TurnState.RUNNING.value]))
    return list(tx.scalars(query.order_by(Turn.created_at)))


def _mended(tx: Transaction, turn: Turn, forgotten: bool) -> bool:
    try:
        return _mend(tx, turn, forgotten)
    except EnvelopeError as error:
        # Sealed with a key that is gone. It may not keep the sweeper from all the others, time after time.
        log.error("sweep.failed", turn=str(turn.id), error=str(error))
        return False


def _mend(tx: Transaction, turn: Turn, forgotten: bool) -> bool:
    identity = str(turn.id)
    if turn.stopped and turn.state == TurnState.QUEUED.value:
        # Redis was away when it was to be ended.
        queue.remove(identity, str(turn.user_id))
        turns.give_up(identity, turn.attempt, str(turn.session_id), TurnState.CANCELLED, None)
        return True
    known = _known(identity, turn.node)
    if known is None:
        # Redis has lost it, or never had it: it is queued at once. One that runs was given its lease again above, and
        # from then on its node has as long as any other to show that it lives.
        return turn.state == TurnState.QUEUED.value and (_spent(tx, turn) or _queue(tx, turn, turn.attempt))
    if turn.stopped and turn.state == RUNNING:
        turns.press_stop(turn)  # Pressed while Redis was away, or forgotten by it.
    if known.waits:
        return False
    if known.silent_seconds < _patience(turn):
        # A lease of the discord lane is long, for a node that reads a prompt is silent there. But what was to post it may
        # be lost: with a Redis that was emptied, or as the broker loses tasks.
        lost = forgotten or (known.silent_seconds >= names.LEASE_SECONDS and not known.posted)
        return lost and (turn.state, turn.lane) == (RUNNING, Lane.DISCORD.value) and _post_again(turn)
    if turn.state == TurnState.QUEUED.value:
        return _queue(tx, turn, max(turn.attempt, known.fence))
    return _lost(turn)


def _spent(tx: Transaction, turn: Turn) -> bool:
    """End a turn that was let go of because its person has used up the day; one that was begun may go on to its end."""
    owner = tx.get(User, turn.user_id)
    why = limits.used_up(str(owner.id), owner.role) if owner is not None and not turn.attempt else None
    if why is not None:
        turns.give_up(str(turn.id), turn.attempt, str(turn.session_id), TurnState.FAILED, why)
    return why is not None


def _queue(tx: Transaction, turn: Turn, attempt: int) -> bool:
    session, owner = tx.get(Session, turn.session_id), tx.get(User, turn.user_id)
    if session is None or owner is None:
        return False  # Deleted since the turns were read, and the turn with it.
    user = str(owner.id)
    share = shares.of(user, owner.role)
    return queue.enqueue(
        str(turn.id),
        user,
        str(session.id),
        attempt + 1,
        session.node or "",
        weight=share.weight,
        most=share.running,
        model=turn.wanted_model or "",
        daily=None if attempt else limits.daily(user, owner.role),
    )


def _post_again(turn: Turn) -> bool:
    identity, at_ms = str(turn.id), int(turn.leased_at.timestamp() * 1000) if turn.leased_at else 0
    log.info("prompt.again", turn=identity, attempt=turn.attempt, node=turn.node)
    again = Lease(identity, turn.attempt, str(turn.session_id), turn.node or "", Lane.DISCORD.value, at_ms)
    if not dispatch.post_again(again):
        return False
    with redis.client().pipeline(transaction=True) as pipe:
        pipe.hset(names.turn_meta(identity), "again", turn.attempt)
        pipe.expire(names.turn_meta(identity), names.STREAM_TTL_SECONDS, nx=True)
        pipe.execute()
    return True


def _lost(turn: Turn) -> bool:
    identity, session = str(turn.id), str(turn.session_id)
    log.info("turn.lost", turn=identity, attempt=turn.attempt, node=turn.node)
    if turn.stopped:
        turns.give_up(identity, turn.attempt, session, TurnState.CANCELLED, None)
    elif not turns.again(identity, turn.attempt, "its node fell silent"):
        turns.give_up(identity, turn.attempt, session, TurnState.FAILED, outcomes.LOST_REASON)
    return True


def _patience(turn: Turn) -> int:
    return LEASE[Lane(turn.lane)] if turn.lane else names.LEASE_SECONDS


def _known(turn: str, node: str | None) -> _Known | None:
    client = redis.client()
    with client.pipeline(transaction=False) as pipe:
        # However long a turn waits for a node: it keeps its place, and the text that was written before it lost the last one.
        pipe.expire(names.turn_meta(turn), names.STREAM_TTL_SECONDS)
        pipe.expire(names.turn_stream(turn), names.STREAM_TTL_SECONDS)
        pipe.hmget(names.turn_meta(turn), "fence", "seen", "closed", "next", "node", "posted", "again")
        pipe.sismember(names.WAITING, turn)
        pipe.time()
        *_, (fence, seen, closed, waiting_for, leased, *posted), waits, (seconds, micros) = pipe.execute()
    if fence is None and not (waits and waiting_for):
        return None
    heard = max(int(seen or 0), _alive(turn, int(fence or 0), leased.decode() if leased else node))
    silent = seconds + micros / 1e6 - heard / 1000
    return _Known(int(fence or 0), silent, bool(closed), bool(waits), fence in posted)


def _alive(turn: str, attempt: int, node: str | None) -> int:
    """Return when the node of an attempt gave its last sign of life, in milliseconds of Redis' clock; 0 for never."""
    said = redis.client().hget(names.node_alive(node), turn) if node else None
    try:
        of, since = (said or b"0 0").split()
        return int(since) if int(of) == attempt else 0
    except ValueError:
        return 0  # A node may write there what it likes; of its own turns only.


def _release_orphans() -> None:
    """Free the slots of turns that have ended, or are gone with their session."""
    client = redis.client()
    leased = [turn.decode() for turn in client.zrange(names.LEASES, 0, -1)]
    if not leased:
        return
    with transaction() as tx:
        query = select(Turn.id).where(Turn.id.in_(leased), Turn.state == TurnState.RUNNING.value)
        running = {str(turn) for turn in tx.scalars(query)}
    seconds, _ = client.time()
    for turn in leased:
        # A lease that was just made has no row yet: give its dispatcher the time to write one.
        made = client.zscore(names.LEASES, turn) or 0
        if turn not in running and seconds - float(made) / 1000 > names.LEASE_SECONDS:
            queue.release(turn, 1 << 30)
