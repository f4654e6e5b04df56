"""The fair queue on Redis: who waits, who is next, which node takes it; each choice one atomic step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.core import redis
from app.core.functions import call, call_each
from app.services import spending
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
    turn: str,
    user: str,
    session: str,
    attempt: int,
    affinity: str = "",
    *,
    front: bool = False,
    weight: int = 1,
    most: int = 0,
    model: str = "",
    daily: int | None = None,
) -> bool:
    """Let a turn wait for its next attempt; False where it waits already or that attempt was given out before.

    `weight` (1 to 10) is its person's share, `most` how many of theirs may run at once (0: as many as there are slots);
    with a `model`, only a node that has it takes the turn. `front`: it has lost its node, and nobody goes before it.
    `daily` is how many tokens they may use in a day: where those are used up when it would be given out, it is let go of instead,
    and the sweeper ends it.
    """
    return bool(call("ml_enqueue", *_words(turn, user, session, attempt, affinity, front, weight, most, model, daily)))


@dataclass(frozen=True, slots=True)
class Entry:
    """A turn that comes in, with what `enqueue` takes."""

    turn: str
    user: str
    session: str
    affinity: str = ""
    weight: int = 1
    most: int = 0
    model: str = ""
    daily: int | None = None


def enter(entries: Sequence[Entry]) -> list[Lease]:
    """Let turns wait for their first attempt, and lease as many turns, whosever they are; all in one round trip."""
    words = [_words(one.turn, one.user, one.session, 1, one.affinity, False, one.weight, one.most, one.model, one.daily) for one in entries]
    leases = (_lease(answer) for _, answer in call_each("ml_enter", [(*each, spending.day()) for each in words]))
    return [lease for lease in leases if lease]


def _words(
    turn: str, user: str, session: str, attempt: int, affinity: str, front: bool, weight: int, most: int, model: str, daily: int | None
) -> tuple[Any, ...]:
    tokens = "" if daily is None else daily
    return turn, user, session, attempt, affinity, int(front), names.STREAM_TTL_SECONDS, weight, most, model, tokens


def pick_all(most: int) -> list[Lease]:
    """Lease the next turns, `most` of them, as long as somebody waits and a slot is free."""
    return [lease for answer in call("ml_pick_all", names.STREAM_TTL_SECONDS, most, spending.day()) if (lease := _lease(answer))]


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


def release_all(held: Sequence[tuple[str, int, str | None]]) -> None:
    """Give back the slots of attempts, each given as turn, attempt and node."""
    call_each("ml_release", [(turn, attempt, node or "") for turn, attempt, node in held])


def forget(turn: str, attempt: int) -> None:
    """Leave nothing of a turn that is gone but the word that it is."""
    release(turn, attempt)
    redis.client().delete(names.turn_meta(turn), names.turn_stream(turn))
    dismiss(turn, attempt)


def dismiss(turn: str, attempt: int) -> None:
    """Let a node that still writes a turn which is over hear so, where Redis knows nothing of it any more.

    A turn that is unknown is one that Redis has lost: its node would lay it there again, and ask for it, without end.
    """
    key = names.turn_meta(turn)
    with redis.client().pipeline(transaction=False) as pipe:
        pipe.hsetnx(key, "fence", attempt)  # It names no node: whoever comes is stale.
        pipe.expire(key, names.CLOSED_TTL_SECONDS)
        pipe.execute()


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
