"""A turn's events as they lie on the stream: a clear header for routing, and a sealed body with all they say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from app.wire.envelope import Ring
from app.wire.errors import EnvelopeForged
from app.wire.figures import whole
from app.wire.states import EventKind

PLATFORM: Final = ""
"""The author of events that no node made."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a turn's stream.

    `at` is where a delta's text begins in the reply, and where a `started` attempt takes it up, in UTF-8 bytes.
    """

    kind: EventKind
    turn: str
    attempt: int
    at: int | None = None
    text: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    node: str = PLATFORM
    """Who made it; decides which key opens it."""

    @property
    def end(self) -> int:
        """Where a delta's text ends in the reply, in UTF-8 bytes."""
        return (self.at or 0) + len((self.text or "").encode())

    def shown(self) -> dict[str, Any]:
        """Return the event as a browser reads it."""
        body: dict[str, Any] = {**self.data, "event": self.kind.value, "turn": self.turn, "attempt": self.attempt}
        if self.at is not None:
            body["at"] = self.at
        if self.text is not None:
            body["text"] = self.text
        return body


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals the events of one attempt; node, session, turn and attempt are bound by the ring it is given."""

    ring: Ring
    turn: str
    attempt: int
    node: str

    def seal(self, event: Event) -> bytes:
        """Return the event as it goes onto the stream."""
        body: dict[str, Any] = dict(event.data)
        if event.at is not None:
            body["at"] = event.at
        if event.text is not None:
            body["text"] = event.text
        # Turn and attempt go inside as well: a header changed on the way would otherwise move a text to another turn.
        body["t"], body["a"], body["k"] = self.turn, self.attempt, event.kind.value
        header = {"k": event.kind.value, "t": self.turn, "a": self.attempt, "n": self.node}
        header["s"] = self.ring.seal(orjson.dumps(body)).decode()
        return orjson.dumps(header)


RingOf = Callable[[str, str, int], Ring]
"""Gives the ring that opens what an author, a node or the platform, says in one attempt: author, turn, attempt."""
OF_NODES: Final = (EventKind.STARTED, EventKind.DELTA)
"""What a node may say; all else is the platform's word, and believed from nobody else."""


def unseal(raw: bytes, ring_of: RingOf) -> Event:
    """Return the event on the stream, or raise EnvelopeForged where header and sealed body do not say the same."""
    try:
        header = orjson.loads(raw)
        turn, attempt, node, kind = header["t"], header["a"], header["n"], EventKind(header["k"])
        if node != PLATFORM and kind not in OF_NODES:
            raise EnvelopeForged
        body = orjson.loads(ring_of(node, turn, int(attempt)).open(header["s"].encode()))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EnvelopeForged from error
    # A node may seal what it likes: what readers count with is held against its type here, once for all of them.
    if not isinstance(body, dict) or not isinstance(turn, str) or type(attempt) is not int:
        raise EnvelopeForged
    if (body.pop("t", None), body.pop("a", None), body.pop("k", None)) != (turn, attempt, kind.value):
        raise EnvelopeForged
    at, text = body.pop("at", None), body.pop("text", None)
    if not (at is None or (type(at) is int and at >= 0)) or not isinstance(text, str | None):
        raise EnvelopeForged
    return Event(kind, turn, attempt, at, text, body if node == PLATFORM else _of_node(kind, node, body), node)


def _of_node(kind: EventKind, node: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node may tell beside a text: what it seals besides would reach pages as the platform's own word."""
    return {"node": node, "left_out": whole(body.get("left_out"))} if kind is EventKind.STARTED else {}
