"""A turn's life: submitted, tried again, stopped, and ended in exactly one way."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    events,
    intake,
    limits,
    nodes,
    outcomes,
    queue,
    replay,
    sessions,
    shares,
    underway,
    wishes,
)
from app.services.outcomes import LOST_REASON, Ended
from app.wire import hops, names
from app.wire.errors import BadInput, Busy, EnvelopeError, EnvelopeForged, MeatLizardError, NotFound, Unavailable
from app.wire.inbox import Asked, Handed
from app.wire.jobs import Outcome
from app.wire.states import Door, EventKind, Lane, TurnState

log = structlog.get_logger(__name__)
UNLIMITED = 1_000_000  # Turns that may wait where nobody counts: load tests, the command line of the machine itself.

@dataclass(frozen=True, slots=True)
class Accepted:
    """A prompt that is kept: whatever happens now, its turn will have an outcome."""

    turn: str
    message: str
    parent: str | None
    title: str
    text: str
    begun: bool = False  # Whether a node was given the turn at once.
    again: bool = False  # Whether it was kept when it came first.


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt as it comes in at a door."""

    user: str
    session: str
    client_id: str
    """Made by its sender; the same one twice is the same turn."""
    words: str
    parent: str | None
    door: Door
    sampling: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    """Only a node that has it answers."""
    limited: bool = True
    """Whether only so many of their turns may wait, and only while the day's tokens are not used up."""


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
    """Keep a prompt and let its turn wait for a node; see `Prompted`."""
    [answer] = submit_all([Prompted(user, session, client_id, words, parent, door, sampling or {}, model, limited)])
    if isinstance(answer, MeatLizardError):
        raise answer
    return answer


def submit_all(many: Sequence[Prompted]) -> list[Accepted | MeatLizardError]:
    """Keep prompts that came together, and let their turns wait; what is wrong with one is its own answer."""
    answers: list[Accepted | MeatLizardError | None] = [None] * len(many)
    prompts = {}
    for at, asked in enumerate(many):
        try:
            prompts[at] = _prompt(asked)
        except MeatLizardError as error:
            answers[at] = error
        except redis.ERRORS:
            answers[at] = Unavailable()
    try:
        kept = dict(zip(prompts, intake.keep(list(prompts.values())), strict=True))
    except MeatLizardError as error:
        return [answer or error for answer in answers]
    fresh = [(many[at], one) for at, one in kept.items() if isinstance(one, intake.Kept) and one.kept]
    begun = _wait([_entry(one.turn, ask.user, ask.session, one.role, one.node, ask.model, ask.limited) for ask, one in fresh])
    for at, one in kept.items():
        try:
            answers[at] = _answer(many[at], one, begun) if isinstance(one, intake.Kept) else one
        except MeatLizardError as error:
            answers[at] = error
    return [answer for answer in answers if answer is not None]


def _prompt(asked: Prompted) -> intake.Prompt:
    words, ring = intake.clean(asked.words), keys.rest(asked.session)
    if asked.model is not None:
        nodes.must_have(asked.model)
    session = sessions.parse_id(asked.session)
    return intake.Prompt(
        user=UUID(asked.user),
        session=session,
        client=intake.client_id(asked.client_id),
        parent=sessions.parse_id(asked.parent) if asked.parent else None,
        door=asked.door.value,
        body=ring.seal(words.encode()),
        title=ring.seal(sessions.shortened(words).encode()),
        **wishes.split(session, asked.sampling),
        model=asked.model,
        most=shares.most_waiting(asked.user) if asked.limited else dict.fromkeys(shares.ROLES, UNLIMITED),
    )


def _entry(turn: UUID, user: str, session: str, role: str, node: str | None, model: str | None, limited: bool) -> queue.Entry:
    share, daily = shares.of(user, role), limits.daily(user, role) if limited else None
    return queue.Entry(str(turn), user, session, node or "", share.weight, share.running, model or "", daily)


def _answer(asked: Prompted, kept: intake.Kept, begun: Collection[str]) -> Accepted:
    if not kept.kept:
        return _not_kept(kept, asked.user, asked.session, asked.client_id)
    words, turn = intake.clean(asked.words), str(kept.turn)
    title = keys.rest(asked.session).open(kept.title).decode() if kept.title else ""
    return Accepted(turn, str(kept.message), asked.parent, title, words, turn in begun)


def _not_kept(kept: intake.Kept, user: str, session: str, client_id: str) -> Accepted:
    if not kept.mine:
        raise NotFound(sessions.NOT_HERE)
    if not kept.known and not kept.placed:
        # Usually a reply stands above; a prompt where that was stopped or failed before its first word.
        raise BadInput("This branch of the conversation is not here any more. Reload the page.")
    if first := known(user, session, client_id):
        return first
    raise _too_many(kept.queued)


def _too_many(waiting: int) -> Busy:
    return Busy(f"You have {waiting} prompts waiting already, and no more may. Wait for one of them, or stop it.")


def retry(user: str, session: str, client_id: str, turn: str, door: Door, *, limited: bool = True) -> Accepted:
    """Answer the prompt of an earlier turn once more, in a turn of its own."""
    try:
        return _retry(user, session, client_id, turn, door, limited)
    except _Taken:
        if first := known(user, session, client_id):
            return first
        raise Busy("This prompt is being taken in already. Reload the page to see it.") from None


def _retry(user: str, session: str, client_id: str, turn: str, door: Door, limited: bool) -> Accepted:
    with transaction() as tx:
        owner = sessions.owned(tx, session, user)
        if first := _known(tx, owner, client_id):
            return first
        old = tx.get(Turn, sessions.parse_id(turn))
        if old is None or old.session_id != owner.id:
            raise NotFound("This turn is not here any more. Reload the page.")
        if not TurnState(old.state).final:
            raise BadInput("This prompt is still being answered. Stop it first.")
        role = intake.welcome(tx, owner.user_id).role
        new = _turn(tx, owner, client_id, old, door, shares.of(user, role).waiting if limited else UNLIMITED)
        accepted = _accepted(tx, owner, new, old.prompt_id)
    _wait([_entry(new, user, session, role, owner.node, old.wanted_model, limited)])
    return accepted


def _turn(tx: Transaction, session: Session, client_id: str, old: Turn, door: Door, most: int) -> UUID:
    query = select(func.count()).where(Turn.user_id == session.user_id, Turn.state == TurnState.QUEUED.value)
    if (waiting := tx.scalar(query) or 0) >= most:
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


def known(user: str, session: str, client_id: str) -> Accepted | None:
    """Return the turn that a person's prompt was kept as, by the id its sender gave it; None where there is none."""
    with transaction() as tx:
        return _known(tx, sessions.owned(tx, session, user), client_id)


def _known(tx: Transaction, session: Session, client_id: str) -> Accepted | None:
    turn = tx.scalar(select(Turn).where(Turn.session_id == session.id, Turn.client_id == intake.client_id(client_id)))
    return replace(_accepted(tx, session, turn.id, turn.prompt_id), again=True) if turn else None


def _accepted(tx: Transaction, session: Session, turn: UUID, prompt: UUID) -> Accepted:
    message = tx.get_one(Message, prompt)
    words = keys.rest(str(session.id)).open(message.body).decode()
    parent = str(message.parent_id) if message.parent_id else None
    return Accepted(str(turn), str(prompt), parent, sessions.title(session), words)


def accepted(turn: str, user: str, session: str) -> tuple[Accepted, str]:
    """Return a turn as its prompt was accepted, and the id its sender gave it: for the session's other pages.

    Raises NotFound where it is not theirs in this session: that there is one was heard on Redis, whose word is nobody's.
    """
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is None or (str(row.user_id), str(row.session_id)) != (user, session):
            raise NotFound
        return _accepted(tx, tx.get_one(Session, row.session_id), row.id, row.prompt_id), str(row.client_id)


def _wait(entries: Sequence[queue.Entry]) -> Collection[str]:
    """Queue new turns and give them nodes where some are free; where Redis is away the sweeper does it later.

    Return the turns that were given a node at once.
    """
    if not entries:
        return ()
    try:
        leases = queue.enter(entries)
        if leases:
            dispatch.dispatch(leases)
        return {lease.turn for lease in leases}
    except (MeatLizardError, *redis.ERRORS) as error:
        log.warning("turns.wait", turns=[one.turn for one in entries], error=str(error))
        return ()


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
        if fresh := row.state == TurnState.QUEUED.value and not attempt:
            row.state, row.finished_at = TurnState.CANCELLED.value, now()
    underway.leave(session, str(row.client_id))
    try:
        if fresh:
            queue.remove(turn, user)
            events.close(session, turn, attempt, EventKind.CANCELLED, message=None)
        elif row.state == TurnState.QUEUED.value:
            queue.remove(turn, user)  # Between two attempts: what people have seen of the last one, they keep.
            give_up(turn, attempt, session, TurnState.CANCELLED, None)
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
    [answer] = finish_all([Handed(Asked.FINISH, node, turn, attempt, envelope)])
    if isinstance(answer, EnvelopeError):
        raise answer
    return answer


def finish_all(handed: Sequence[Handed]) -> list[bool | EnvelopeError]:
    """Take in the outcomes of attempts that came together; one that is not what it says is its own answer."""
    came = clock.now_ms()
    with transaction() as tx:
        query = select(Turn.id, Turn.session_id, Turn.attempt, Turn.node).where(Turn.id.in_({UUID(one.turn) for one in handed}))
        rows = {str(row.id): row for row in tx.execute(query)}
    answers: list[bool | EnvelopeError] = [False] * len(handed)
    ended: dict[int, Ended] = {}
    for at, one in enumerate(handed):
        row = rows.get(str(UUID(one.turn)))
        if row is None:  # Deleted with its session while the node was writing.
            underway.settle(one)
            queue.forget(one.turn, one.attempt)
            continue
        try:
            if row.attempt == one.attempt and row.node != one.node:
                raise EnvelopeForged  # A node that can seal as itself, but was not the one that was asked.
            outcome = Outcome.open(one.envelope, keys.node(one.node), str(row.session_id), one.turn, one.attempt)
        except EnvelopeError as error:
            answers[at] = error
            continue
        if row.attempt < one.attempt:
            dispatch.write_again(one.turn, one.attempt, one.node)
        outcome = replace(outcome, hops={**outcome.hops, hops.FINISHING: came})
        if outcome.leaving:
            nodes.leaving(one.node)
        if outcome.state == TurnState.FAILED and outcome.retriable and again(one.turn, one.attempt, outcome.reason or LOST_REASON):
            answers[at] = True
        else:
            ended[at] = Ended(one.turn, str(row.session_id), one.attempt, outcome)
    for at, counted in zip(ended, outcomes.end_all(list(ended.values())), strict=True):
        answers[at] = counted
        if not counted:  # Deleted in this very moment, if it was not counted before.
            underway.settle(handed[at])
    return answers


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


def ending(turn: str) -> tuple[EventKind, int, dict[str, Any]] | None:
    """Return how a turn ended, for whoever comes after its stream; None while it has not."""
    with transaction() as tx:
        row = tx.get(Turn, UUID(turn))
        if row is None or not TurnState(row.state).final:
            return None
        return EventKind(row.state), row.attempt, outcomes.facts(tx, row)


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
    if session_of(turn, user) != session:
        raise NotFound("This turn is not here: it was deleted, or it is not yours.")


def give_up(turn: str, attempt: int, session: str, state: TurnState, why: str | None) -> None:
    """End a turn that no node will end any more, with the text that people have already seen."""
    text = replay.text(turn, session)
    outcomes.end_all([Ended(turn, session, attempt, Outcome.of(turn, attempt, state, text, reason=why))])
