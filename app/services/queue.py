"""The fair queue on Redis: who waits, who is next, which node takes it; each choice one atomic step."""

from dataclasses import dataclass
from typing import Any

from app.core import redis
from app.core.functions import call
from app.wire import names


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one turn, given to one node."""

    turn: str
    attempt: int
    session: str
    node: str
    lane: str
    at_ms: int = 0
    """In milliseconds of Redis' clock."""
    more: bool = False
    """Whether somebody waits still: there may be another slot for them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A turn that waits, as the queue knows it."""

    turn: str
    user: str
    session: str
    attempt: int
    """The one that it waits for."""
    model: str
    place: str
    """What its people were told last."""


def enqueue(
    turn: str, user: str, session: str, attempt: int, affinity: str = "", *, front: bool = False, weight: int = 1, most: int = 0, model: str = ""
) -> bool:
    """Let a turn wait for its next attempt; False where it waits already or that attempt was given out before.

    `weight` (1 to 10) is its person's share, `most` how many of theirs may run at once (0: as many as there are slots);
    with a `model`, only a node that has it takes the turn. `front`: it has lost its node, and nobody goes before it.
    """
    return bool(call("ml_enqueue", *_words(turn, user, session, attempt, affinity, front, weight, most, model)))


def enter(
    turn: str, user: str, session: str, attempt: int, affinity: str = "", *, weight: int = 1, most: int = 0, model: str = ""
) -> Lease | None:
    """Do the same and lease the next turn, whosever it is, in one step."""
    _, answer = call("ml_enter", *_words(turn, user, session, attempt, affinity, False, weight, most, model))
    return _lease(answer)


def _words(
    turn: str, user: str, session: str, attempt: int, affinity: str, front: bool, weight: int, most: int, model: str
) -> tuple[Any, ...]:
    return turn, user, session, attempt, affinity, int(front), names.STREAM_TTL_SECONDS, weight, most, model


def pick() -> Lease | None:
    """Lease the next turn to a node with a free slot; None where nobody waits or no slot is free."""
    return _lease(call("ml_pick", names.STREAM_TTL_SECONDS))


def _lease(answer: Any) -> Lease | None:
    if not answer:
        return None
    turn, attempt, session, node, lane = (part.decode() for part in answer[:5])
    return Lease(turn, int(attempt), session, node, lane, int(answer[5]), bool(answer[6]))


def remove(turn: str, user: str) -> bool:
    """Take a waiting turn out; False where it does not wait."""
    return bool(call("ml_remove", turn, user))


def release(turn: str, attempt: int, node: str | None = None) -> None:
    """Give back the slot of an attempt; twice does no harm. `node` says whose, where Redis may have forgotten."""
    call("ml_release", turn, attempt, node or "")


def forget(turn: str, attempt: int) -> None:
    """Leave nothing of a turn that is gone."""
    release(turn, attempt)
    redis.client().delete(names.turn_meta(turn), names.turn_stream(turn))


def restore(turn: str, attempt: int, node: str, lane: str, user: str, session: str) -> bool:
    """Write the lease of a running turn where Redis has lost it; what it has stays as it is."""
    return bool(call("ml_restore", turn, attempt, node, lane, user, session, names.STREAM_TTL_SECONDS))


def free_lost_slots() -> int:
    """Free the slots whose lease is gone, such as where the turn's own key ran out before it was released."""
    return int(call("ml_free_lost"))


def line(most: int = 1000) -> list[Waiting]:
    """Return the waiting turns in the order in which they will be taken."""
    found = []
    for answer in call("ml_waiting", most):
        turn, user, session, attempt, model, place = (part.decode() for part in answer)
        found.append(Waiting(turn, user, session, int(attempt or 1), model, place))
    return found


def waiting(most: int = 1000) -> list[str]:
    """Return only which turns they are."""
    return [one.turn for one in line(most)]
