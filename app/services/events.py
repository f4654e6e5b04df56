"""The events the platform itself makes in a turn's stream: its place in the queue, and its end."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.core import keys, redis
from app.core.functions import call_each
from app.stream.scripts import CLOSE
from app.wire import names
from app.wire.events import PLATFORM, Event, Sealer
from app.wire.states import EventKind


def _sealed(session: str, event: Event) -> bytes:
    return Sealer(keys.events(PLATFORM, session, event.turn, event.attempt), event.turn, event.attempt, PLATFORM).seal(event)


def close(session: str, turn: str, attempt: int, kind: EventKind, **data: Any) -> None:
    """End a turn's stream, once; only call it when PostgreSQL holds how the turn ended."""
    close_all([(session, turn, attempt, kind, data)])


def close_all(ends: Sequence[tuple[str, str, int, EventKind, Mapping[str, Any]]]) -> None:
    """End the streams of turns, each given as session, turn, attempt, kind and what is told of it."""
    words = []
    for session, turn, attempt, kind, data in ends:
        sealed = _sealed(session, Event(kind, turn, attempt, data=data))
        words.append((turn, attempt, names.CLOSED_TTL_SECONDS, sealed))
    call_each(CLOSE, words)


def announce(session: str, turn: str, attempt: int, position: int, eta: float | None) -> None:
    """Tell whoever watches a waiting turn where it stands; kept nowhere, since the next word replaces it."""
    event = Event(EventKind.QUEUED, turn, attempt, data={"position": position, "eta": eta})
    redis.client().publish(names.turn_channel(turn), b"- " + _sealed(session, event))
