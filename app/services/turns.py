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
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Session, Turn, new_id, now
from app.services import dispatch, events, markdown, metrics, nodes, queue, replay, sessions, wishes
from app.wire import hops, names
from app.wire.errors import BadInput, Busy, EnvelopeForged, MeatLizardError, NotFound, PromptTooLong
from app.wire.jobs import Outcome
from app.wire.states import Door, EventKind, Lane, Role, TurnState

log = structlog.get_logger(__name__)

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


def clean(words: str) -> str:
    """Return a prompt as it can be kept: without NUL and lone surrogates; raise BadInput where nothing is left."""
    words = words.replace("\0", "").encode("utf-8", "replace").decode()
    if not words.strip():
        raise BadInput("The prompt is empty. Write something first.")
    if len(words) > settings().prompt_limit:
        raise PromptTooLong(len(words), settings().prompt_limit)
    return words


def submit(
    user: str, session: str, client_id: str, words: str, parent: str | None, door: Door, sampling: Mapping[str, Any] | None = None
) -> Accepted:
    """Keep a prompt and let its turn wait for a node; the same client id twice is the same turn."""
    words = clean(words)
    try:
        return _submit(user, session, client_id, words, parent, door, sampling or {})
    except _Taken:
        return _first(user, session, client_id)


def _submit(
    user: str, session: str, client_id: str, words: str, parent: str | None, door: Door, sampling: Mapping[str, Any]
) -> Accepted:
    with transaction() as tx:
        owner = sessions.owned(tx, session, user)
        if known := _known(tx, owner, client_id):
            return known
        if parent is not None:
            above = tx.get(Message, sessions.parse_id(parent))
            # Usually a reply; a prompt where that was stopped or failed before its first word.
            if above is None or above.session_id != owner.id:
                raise BadInput("This branch of the conversation is not here any more. Reload the page.")
        prompt = Message(
            id=new_id(),
            session_id=owner.id,
            parent_id=UUID(parent) if parent else None,
            role=Role.USER.value,
            body=keys.rest(session).seal(words.encode()),
        )
        tx.add(prompt)
        tx.flush()
        title = sessions.title(owner) or sessions.set_title(owner, words)
        turn = _turn(tx, owner, client_id, prompt.id, door, sampling)
    _wait(turn, user, session, owner.node or "")
    return Accepted(str(turn), str(prompt.id), parent, title, markdown.render(words), words)


def retry(user: str, session: str, client_id: str, turn: str, door: Door) -> Accepted:
    """Answer the prompt of an earlier turn once more, in a turn of its own."""
    try:
        return _retry(user, session, client_id, turn, door)
    except _Taken:
        return _first(user, session, client_id)


def _retry(user: str, session: str, client_id: str, turn: str, door: Door) -> Accepted:
    with transaction() as tx:
        owner = sessions.owned(tx, session, user)
        if known := _known(tx, owner, client_id):
            return known
        old = tx.get(Turn, sessions.parse_id(turn))
        if old is None or old.session_id != owner.id:
            raise NotFound("This turn is not here any more. Reload the page.")
        if not TurnState(old.state).final:
            raise BadInput("This prompt is still being answered. Stop it first.")
        new = _turn(tx, owner, client_id, old.prompt_id, door, wishes.of(old))
        accepted = _accepted(tx, owner, new, old.prompt_id)
    _wait(new, user, session, owner.node or "")
    return accepted


def _turn(
    tx: Transaction, session: Session, client_id: str, prompt: UUID, door: Door, sampling: Mapping[str, Any]
) -> UUID:
    unfinished = tx.scalar(select(func.count()).where(Turn.user_id == session.user_id, Turn.finished_at.is_(None)))
    if (unfinished or 0) >= settings().waiting_limit:
        raise Busy(f"You have {unfinished} prompts waiting already. Wait for one of them, or stop it.")
    session.updated_at = now()
    values = {
        "id": new_id(),
        "session_id": session.id,
        "user_id": session.user_id,
        "client_id": _client_id(client_id),
        "prompt_id": prompt,
        "door": door.value,
        **wishes.split(session.id, sampling),
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


def _client_id(value: str) -> UUID:
    try:
        return UUID(value)
    except (ValueError, AttributeError) as error:
        raise BadInput("A prompt needs an id: a UUID of your own making, the same one if you send it again.") from error


def _known(tx: Transaction, session: Session, client_id: str) -> Accepted | None:
    turn = tx.scalar(select(Turn).where(Turn.session_id == session.id, Turn.client_id == _client_id(client_id)))
    return _accepted(tx, session, turn.id, turn.prompt_id) if turn else None


def _accepted(tx: Transaction, session: Session, turn: UUID, prompt: UUID) -> Accepted:
    message = tx.get_one(Message, prompt)
    words = keys.rest(str(session.id)).open(message.body).decode()
    parent = str(message.parent_id) if message.parent_id else None
    return Accepted(str(turn), str(prompt), parent, sessions.title(session), markdown.render(words), words)


def accepted(turn: str) -> tuple[Accepted, str]:
    """Return a turn as its prompt was accepted, and the id its sender gave it; for the session's other pages."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None:
            raise NotFound
        return _accepted(tx, tx.get_one(Session, row.session_id), row.id, row.prompt_id), str(row.client_id)


def _wait(turn: UUID, user: str, session: str, affinity: str) -> None:
    """Queue a new turn and give it a node if one is free; where Redis is away the sweeper does it later."""
    try:
        queue.enqueue(str(turn), user, session, 1, affinity)
        dispatch.dispatch()
        dispatch.announce_places()
    except (MeatLizardError, *redis.ERRORS) as error:
        log.warning("turn.waits", turn=str(turn), error=str(error))


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
    try:
        if waits:
            queue.remove(turn, user)
            events.close(session, turn, attempt, EventKind.CANCELLED, message=None)
            dispatch.announce_places()
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
        user, session = str(row.user_id), str(row.session_id)
    log.info("turn.again", turn=turn, attempt=attempt, why=why.partition("\n")[0])
    queue.enqueue(turn, user, session, attempt + 1, front=True)
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
        session, figures = str(row.session_id), _figures(row, outcome)
        state = TurnState(row.state)
    # From here on everything may be done twice: a worker killed in between is followed by another one's try.
    events.close(session, turn, attempt, EventKind(state.value), **facts)
    queue.release(turn, attempt, row.node)
    # Also where it did not count: the try before may have been killed before it came to this.
    metrics.put("turn", figures)
    if counted:
        if state is TurnState.DONE:
            dispatch.remember_duration(outcome.total_ms)
        # What programs ask has no channel in Discord: a guild has room for 500, and they keep their own record.
        if row.lane != Lane.DISCORD and row.door != Door.API:
            ask_relay(names.POST_MIRROR, turn, expires=names.MIRROR_GOOD_SECONDS)
    dispatch.dispatch()
    dispatch.announce_places()
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


def _figures(row: Turn, outcome: Outcome) -> dict[str, Any]:
    """Return what is measured of a turn that has ended; the same however often it is asked for."""
    ended = row.finished_at or now()
    return {
        "turn_id": str(row.id),
        "attempt": row.attempt,
        "at": ended.isoformat(),
        "user_id": str(row.user_id),
        "outcome": row.state,
        "door": row.door,
        "lane": row.lane,
        "node": row.node,
        "model": row.model,
        "queue_ms": ((row.leased_at or ended) - row.created_at).total_seconds() * 1000,
        "first_token_ms": outcome.first_token_ms,
        "prompt_ms": outcome.prompt_ms,
        "total_ms": outcome.total_ms,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "tokens_per_second": row.tokens_per_second,
    }
