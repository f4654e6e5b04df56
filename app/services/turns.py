"""A turn's life: submitted, tried again, stopped, and ended in exactly one way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as Transaction

from app.core import clock, keys, redis
from app.core.broker import ask_relay
from app.core.db import transaction
from app.core.models import Message, Session, Turn, User, new_id, now
from app.services import (
    dispatch,
    estimate,
    events,
    intake,
    limits,
    markdown,
    metrics,
    nodes,
    queue,
    replay,
    sessions,
    shares,
    tally,
    underway,
    wishes,
)
from app.wire import hops, names
from app.wire.errors import BadInput, Busy, EnvelopeForged, MeatLizardError, NotFound
from app.wire.jobs import Outcome
from app.wire.states import Door, EventKind, Lane, Role, TurnState

log = structlog.get_logger(__name__)
UNLIMITED = 1_000_000
"""Turns that may wait where nobody counts: load tests, the command line of the machine itself."""
LOST_REASON = "Three attempts were made and each was cut off before its end. Press Retry, or ask for the node to be looked at."

@dataclass(frozen=True, slots=True)
class Accepted:
    """A prompt that is kept: whatever happens now, its turn will have an outcome."""

    turn: str
    message: str
    parent: str | None
    title: str
    html: str
    text: str
    begun: bool = False  # Whether a node was given the turn at once.


def submit(
    user: str,
    session: str,
    client_id: str,
    words: str,
    parent: str | None,
    door: Door,
    sampling: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    limited: bool = True,
) -> Accepted:
    """Keep a prompt and let its turn wait for a node; the same client id twice is the same turn.

    With a `model`, only a node that has it answers. Who is not `limited` may have any number of turns waiting.
    """
    words, ring = intake.clean(words), keys.rest(session)
    if model is not None:
        nodes.must_have(model)
    title = sessions.shortened(words)
    kept = intake.keep(
        intake.Prompt(
            user=UUID(user),
            session=sessions.parse_id(session),
            client=intake.client_id(client_id),
            parent=sessions.parse_id(parent) if parent else None,
            door=door.value,
            body=ring.seal(words.encode()),
            title=ring.seal(title.encode()),
            **wishes.split(UUID(session), sampling or {}),
            model=model,
            most=shares.most_waiting(user) if limited else dict.fromkeys(shares.ROLES, UNLIMITED),
        )
    )
    if not kept.kept:
        return _not_kept(kept, user, session, client_id)
    turn = str(kept.turn)
    begun = _wait(turn, user, session, kept.node or "", shares.of(user, kept.role), model or "")
    if kept.title:
        title = ring.open(kept.title).decode()
    return Accepted(turn, str(kept.message), parent, title, markdown.render(words), words, begun)


def _not_kept(kept: intake.Kept, user: str, session: str, client_id: str) -> Accepted:
    if not kept.mine:
        raise NotFound("This conversation is not here: it was deleted, or it is not yours.")
    if not kept.known and not kept.placed:
        # Usually a reply stands above; a prompt where that was stopped or failed before its first word.
        raise BadInput("This branch of the conversation is not here any more. Reload the page.")
    with transaction() as tx:
        known = _known(tx, sessions.owned(tx, session, user), client_id)
    if known is not None:
        return known
    raise _too_many(kept.queued)


def _too_many(waiting: int) -> Busy:
    return Busy(f"You have {waiting} prompts waiting already, and no more may. Wait for one of them, or stop it.")


def retry(user: str, session: str, client_id: str, turn: str, door: Door, *, limited: bool = True) -> Accepted:
    """Answer the prompt of an earlier turn once more, in a turn of its own."""
    try:
        return _retry(user, session, client_id, turn, door, limited)
    except _Taken:
        return _first(user, session, client_id)


def _retry(user: str, session: str, client_id: str, turn: str, door: Door, limited: bool) -> Accepted:
    with transaction() as tx:
        owner = sessions.owned(tx, session, user)
        if known := _known(tx, owner, client_id):
            return known
        old = tx.get(Turn, sessions.parse_id(turn))
        if old is None or old.session_id != owner.id:
            raise NotFound("This turn is not here any more. Reload the page.")
        if not TurnState(old.state).final:
            raise BadInput("This prompt is still being answered. Stop it first.")
        share = shares.of(user, tx.get_one(User, owner.user_id).role)
        new = _turn(tx, owner, client_id, old, door, share.waiting if limited else UNLIMITED)
        accepted = _accepted(tx, owner, new, old.prompt_id)
    _wait(str(new), user, session, owner.node or "", share, old.wanted_model or "")
    return accepted


def _turn(tx: Transaction, session: Session, client_id: str, old: Turn, door: Door, most: int) -> UUID:
    query = select(func.count()).where(Turn.user_id == session.user_id, Turn.state == TurnState.QUEUED.value)
    waiting = tx.scalar(query) or 0
    if waiting >= most:
        raise _too_many(waiting)
    session.updated_at = now()
    values = {
        "id": new_id(),
        "session_id": session.id,
        "user_id": session.user_id,
        "client_id": intake.client_id(client_id),
        "prompt_id": old.prompt_id,
        "door": door.value,
        **wishes.split(session.id, wishes.of(old)),
        "wanted_model": old.wanted_model,
    }
    turn: UUID | None = tx.scalar(insert(Turn).values(values).on_conflict_do_nothing().returning(Turn.id))
    if turn is None:
        raise _Taken
    return turn


class _Taken(Exception):
    """The same prompt came in on two sockets at once, and the other one was first: this one is undone."""


def _first(user: str, session: str, client_id: str) -> Accepted:
    with transaction() as tx:
        known = _known(tx, sessions.owned(tx, session, user), client_id)
    if known is None:
        raise Busy("This prompt is being taken in already. Reload the page to see it.")
    return known


def _known(tx: Transaction, session: Session, client_id: str) -> Accepted | None:
    turn = tx.scalar(select(Turn).where(Turn.session_id == session.id, Turn.client_id == intake.client_id(client_id)))
    return _accepted(tx, session, turn.id, turn.prompt_id) if turn else None


def _accepted(tx: Transaction, session: Session, turn: UUID, prompt: UUID) -> Accepted:
    message = tx.get_one(Message, prompt)
    words = keys.rest(str(session.id)).open(message.body).decode()
    parent = str(message.parent_id) if message.parent_id else None
    return Accepted(str(turn), str(prompt), parent, sessions.title(session), markdown.render(words), words)


def accepted(turn: str, user: str, session: str) -> tuple[Accepted, str]:
    """Return a turn as its prompt was accepted, and the id its sender gave it: for the session's other pages.

    Raises NotFound where it is not theirs in this session: that there is one was heard on Redis, whose word is nobody's.
    """
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is None or (str(row.user_id), str(row.session_id)) != (user, session):
            raise NotFound
        return _accepted(tx, tx.get_one(Session, row.session_id), row.id, row.prompt_id), str(row.client_id)


def _wait(turn: str, user: str, session: str, affinity: str, share: shares.Share, model: str) -> bool:
    """Queue a new turn and give it a node if one is free; where Redis is away the sweeper does it later."""
    try:
        lease = queue.enter(turn, user, session, 1, affinity, weight=share.weight, most=share.running, model=model)
        dispatch.dispatch(lease)
        return lease is not None and lease.turn == turn
    except (MeatLizardError, *redis.ERRORS) as error:
        log.warning("turn.waits", turn=turn, error=str(error))
        return False


def stop(turn: str, user: str) -> None:
    """End a person's turn: at once where it waits, else as soon as its node hears of it."""
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn), with_for_update=True)
        if row is None or str(row.user_id) != user:
            raise NotFound("This turn is not here: it was deleted, or it is not yours.")
        if TurnState(row.state).final:
            return
        row.stopped = True
        turn, session, attempt = str(row.id), str(row.session_id), row.attempt
        waits = row.state == TurnState.QUEUED.value
        if waits:
            row.state, row.finished_at = TurnState.CANCELLED.value, now()
    underway.leave(session, str(row.client_id))
    try:
        if waits:
            queue.remove(turn, user)
            events.close(session, turn, attempt, EventKind.CANCELLED, message=None)
        else:
            press_stop(row)
    except redis.ERRORS as error:
        log.warning("stop.late", turn=turn, error=str(error))  # The sweeper reads `stopped` and does it again.


def press_stop(row: Turn) -> None:
    """Tell the node that a person wants its turn to end; twice does no harm."""
    if row.node is None:
        return
    turn = str(row.id)
    with redis.client().pipeline(transaction=False) as pipe:
        pipe.hset(names.turn_meta(turn), "stop", 1)
        pipe.expire(names.turn_meta(turn), names.STREAM_TTL_SECONDS)
        pipe.publish(names.node_control(row.node), f"stop {turn}")
        pipe.execute()
    if row.lane == Lane.DISCORD:
        ask_relay(names.POST_CONTROL, "stop", row.node, str(row.session_id), turn, row.attempt)


def finish(turn: str, attempt: int, node: str, envelope: str) -> bool:
    """Take in an attempt's outcome; twice changes nothing, and an older attempt's is dropped. Say whether it counted."""
    came = clock.now_ms()
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None:  # Deleted with its session while the node was writing.
            queue.forget(turn, attempt)
            return False
        if row.attempt == attempt and row.node != node:
            raise EnvelopeForged  # A node that can seal as itself, but was not the one that was asked.
        session = str(row.session_id)
    outcome = Outcome.open(envelope, keys.node(node), session, turn, attempt)
    outcome = replace(outcome, hops={**outcome.hops, hops.FINISHING: came})
    if outcome.leaving:
        nodes.leaving(node)
    if outcome.state == TurnState.FAILED and outcome.retriable and again(turn, attempt, outcome.reason or LOST_REASON):
        return True
    return end(turn, attempt, outcome)


def again(turn: str, attempt: int, why: str) -> bool:
    """Let a turn wait for its next attempt; False where it has had its last one, or a newer one is under way."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn), with_for_update=True)
        if row is None or row.attempt != attempt or TurnState(row.state).final:
            return False
        if row.stopped or attempt >= names.MAX_ATTEMPTS:
            return False
        row.state = TurnState.QUEUED.value
        user, session, model = str(row.user_id), str(row.session_id), row.wanted_model or ""
        share = shares.of(user, tx.get_one(User, row.user_id).role)
    log.info("turn.again", turn=turn, attempt=attempt, why=why.partition("\n")[0])
    queue.enqueue(turn, user, session, attempt + 1, front=True, weight=share.weight, most=share.running, model=model)
    dispatch.dispatch()
    return True


def end(turn: str, attempt: int, outcome: Outcome) -> bool:
    """Write how a turn ended, then tell it, free the slot, and give it to the next one."""
    state = TurnState(outcome.state)
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn), with_for_update=True)
        if row is None or row.attempt != attempt:
            return False
        counted = not TurnState(row.state).final
        if counted:
            if state is TurnState.FAILED and row.stopped:
                state = TurnState.CANCELLED
            _write(tx, row, state, outcome)
        facts = _ending(tx, row)
        session, user, figures = str(row.session_id), str(row.user_id), tally.of(row, outcome)
        state = TurnState(row.state)
    # From here on everything may be done twice: a worker killed in between is followed by another one's try.
    events.close(session, turn, attempt, EventKind(state.value), **facts)
    queue.release(turn, attempt, row.node)
    # As long as nobody else could have the slot: what ending takes is waited for as well.
    took = (now() - (row.leased_at or now())).total_seconds() * 1000
    # Also where it did not count: the try before may have been killed before it came to this.
    metrics.put("turn", figures)
    log.info("turn.ended", turn=turn, session=session, attempt=attempt, node=row.node, lane=row.lane, state=row.state)
    if counted:
        limits.count_tokens(user, outcome.prompt_tokens + outcome.completion_tokens)
        underway.end(session, str(row.client_id), outcome.prompt_tokens + outcome.completion_tokens)
        if state is TurnState.DONE and row.node:
            estimate.remember(row.node, took)
        # What programs ask has no channel in Discord: a guild has room for 500, and they keep their own record.
        if row.lane != Lane.DISCORD and row.door != Door.API:
            ask_relay(names.POST_MIRROR, turn, expires=names.MIRROR_GOOD_SECONDS)
    dispatch.dispatch()
    return counted


def _write(tx: Transaction, row: Turn, state: TurnState, outcome: Outcome) -> None:
    ring = keys.rest(str(row.session_id))
    if outcome.text:
        reply = Message(
            id=new_id(),
            session_id=row.session_id,
            parent_id=row.prompt_id,
            role=Role.ASSISTANT.value,
            body=ring.seal(outcome.text.encode()),
        )
        tx.add(reply)
        tx.flush()
        row.reply_id = reply.id
    row.state, row.finished_at = state.value, now()
    row.model, row.left_out = outcome.model, outcome.left_out
    row.hops = {**(row.hops or {}), **outcome.hops, hops.ENDED: clock.now_ms()}
    row.prompt_tokens, row.completion_tokens = outcome.prompt_tokens, outcome.completion_tokens
    row.tokens_per_second, row.finish_reason = outcome.tokens_per_second, outcome.finish_reason
    if state is TurnState.FAILED:
        row.reason = ring.seal((outcome.reason or LOST_REASON).encode())
    session = tx.get_one(Session, row.session_id)
    session.updated_at, session.node = now(), row.node


def _ending(tx: Transaction, row: Turn) -> dict[str, Any]:
    """Return what the last event of a turn tells, as far as PostgreSQL knows it."""
    facts: dict[str, Any] = {
        "message": str(row.reply_id) if row.reply_id else None,
        "parent": str(row.prompt_id),
        "lane": row.lane,
    }
    if row.state == TurnState.FAILED:
        facts |= {"reason": sessions.reason(row), "retry": True, "finish_reason": row.finish_reason}
    if row.reply_id:
        text = keys.rest(str(row.session_id)).open(tx.get_one(Message, row.reply_id).body).decode()
        facts |= sessions.reply_facts(row) | {"at": len(text.encode())}
    # The event carries these itself.
    for name in ("turn", "attempt", "state"):
        facts.pop(name, None)
    return facts


def ending(turn: str) -> tuple[EventKind, int, dict[str, Any]] | None:
    """Return how a turn ended, for whoever comes after its stream; None while it has not."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None or not TurnState(row.state).final:
            return None
        return EventKind(row.state), row.attempt, _ending(tx, row)


def reply(turn: str) -> str:
    """Return the reply that PostgreSQL keeps for a turn; empty where there is none."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None or row.reply_id is None:
            return ""
        return keys.rest(str(row.session_id)).open(tx.get_one(Message, row.reply_id).body).decode()


def session_of(turn: str, user: str) -> str:
    """Return the session of a person's own turn; raise NotFound where it is not theirs."""
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is None or str(row.user_id) != user:
            raise NotFound("This turn is not here: it was deleted, or it is not yours.")
        return str(row.session_id)


def owned(turn: str, user: str, session: str) -> None:
    """Raise NotFound unless the turn is this person's own, in this session."""
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is None or str(row.user_id) != user or str(row.session_id) != session:
            raise NotFound("This turn is not here: it was deleted, or it is not yours.")


def give_up(turn: str, attempt: int, session: str, state: TurnState, why: str | None) -> None:
    """End a turn that no node will end any more, with the text that people have already seen."""
    end(turn, attempt, Outcome.of(turn, attempt, state, replay.text(turn, session), reason=why))
