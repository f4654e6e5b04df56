"""What crosses between platform and node for one attempt: the job that goes out and the outcome that comes back."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import orjson

from app.wire import hops
from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeForged
from app.wire.figures import figure, whole
from app.wire.names import ENVELOPE_MAX_AGE_SECONDS
from app.wire.states import TurnState

FORMAT: Final = 2
"""2: a job brings the key of its attempt's events."""

LARGEST_REPLY_BYTES: Final = 2 << 20
"""Of a reply as JSON: 64 for each of the most tokens there are. Sealed it has to fit into what a node may hand in
(app.wire.inbox), or it would be refused however often it came."""

TOO_LONG: Final = "too_long"
REFUSED: Final = "refused"
"""Why an attempt failed (its `finish_reason`) where another one would fail in the same way."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at one turn, as a node gets it; sealed on the way."""

    turn: str
    attempt: int
    session: str
    messages: list[dict[str, str]]
    """Role and content, oldest first, the system prompt at the head."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    """The reply so far, when an earlier attempt wrote some: it is continued, not written again."""
    event_key: str = ""
    """What seals the events of this attempt and of no other, as `Ring.dump` writes it."""
    leased_ms: int = 0
    """When this attempt was leased, in milliseconds of Redis' clock: the nodes' own clocks may be off."""
    hops: Mapping[str, float] = field(default_factory=dict)
    """Stamps of the platform (app.wire.hops) that the node gives back with its own."""
    left_out: int = 0
    """How many older messages of the conversation did not come along; the node adds those that it leaves out itself."""
    format: int = FORMAT

    def seal(self, keys: NodeKeys) -> str:
        """Return the envelope for the node that these keys belong to."""
        body = asdict(self)
        if not self.left_out:
            del body["left_out"]  # Nodes of an earlier version do not know it: only what really lacks messages is not for them.
        return keys.to_node.derive("job").seal(orjson.dumps(body)).decode()

    @classmethod
    def open(cls, envelope: str, keys: NodeKeys, turn: str, attempt: int) -> "Job":
        """Open a job and hold it against the turn and attempt it came under; raise EnvelopeError where it is not theirs."""
        body = keys.to_node.derive("job").open(envelope.encode(), ENVELOPE_MAX_AGE_SECONDS)
        try:
            job = cls(**orjson.loads(body))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise EnvelopeForged from error
        if (job.turn, job.attempt, job.format) != (turn, attempt, FORMAT):
            raise EnvelopeForged
        return job


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as the platform gets it; sealed on the way."""

    turn: str
    attempt: int
    state: str
    """A final TurnState."""
    text: str
    """The whole reply, an earlier attempt's part included."""
    sha256: str
    reason: str | None = None
    """Plain words for the person, where it failed."""
    retriable: bool = False
    """Whether another attempt may fare better: the engine failed, not the request."""
    leaving: bool = False
    """Whether the node is going down: it takes nothing more until it says that it is ready."""
    model: str | None = None
    left_out: int = 0
    """How many of the oldest messages did not go into the prompt, those that the job lacked already among them."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_ms: float = 0
    first_token_ms: float | None = None
    """From the job's arrival at the node to its first text, in milliseconds."""
    total_ms: float = 0
    tokens_per_second: float | None = None
    finish_reason: str | None = None
    hops: Mapping[str, float] = field(default_factory=dict)
    """The job's stamps and the node's own (app.wire.hops)."""
    format: int = FORMAT

    @classmethod
    def of(cls, turn: str, attempt: int, state: TurnState, text: str, **more: Any) -> "Outcome":
        """Make an outcome with the hash of its text."""
        return cls(turn, attempt, state.value, text, hashlib.sha256(text.encode()).hexdigest(), **more)

    def sound(self) -> "Outcome":
        """Return it with every figure one that can be kept: engines report what they like."""
        state = TurnState(self.state)
        if not state.final:
            raise ValueError("an outcome is final")
        return replace(
            self,
            text=str(self.text),
            reason=None if self.reason is None else str(self.reason),
            retriable=self.retriable is True,
            leaving=self.leaving is True,
            model=_word(self.model, 128),
            left_out=whole(self.left_out),
            prompt_tokens=whole(self.prompt_tokens),
            completion_tokens=whole(self.completion_tokens),
            prompt_ms=figure(self.prompt_ms) or 0.0,
            first_token_ms=figure(self.first_token_ms),
            total_ms=figure(self.total_ms) or 0.0,
            tokens_per_second=figure(self.tokens_per_second),
            hops=hops.sound(self.hops, hops.FROM_NODE),
            finish_reason=_word(self.finish_reason, 32),
        )

    def seal(self, keys: NodeKeys, session: str) -> str:
        """Return the envelope for the platform."""
        return outcome_ring(keys.from_node, session).seal(orjson.dumps(asdict(self))).decode()

    @classmethod
    def open(cls, envelope: str, keys: NodeKeys, session: str, turn: str, attempt: int) -> "Outcome":
        """Open an outcome; raise EnvelopeForged where it is another turn's or its text was changed."""
        body = outcome_ring(keys.from_node, session).open(envelope.encode())
        try:
            outcome = cls(**orjson.loads(body)).sound()
        except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError) as error:
            raise EnvelopeForged from error
        same = (outcome.turn, outcome.attempt, outcome.format) == (turn, attempt, FORMAT)
        if not same or hashlib.sha256(outcome.text.encode()).hexdigest() != outcome.sha256:
            raise EnvelopeForged
        return outcome


def _word(value: Any, length: int) -> str | None:
    """Return a word as PostgreSQL can keep it: so long at most, and without NUL, which its text does not have."""
    return None if value is None else str(value).replace("\0", "")[:length]


def outcome_ring(from_node: Ring, session: str) -> Ring:
    """Return the ring of a session's outcomes."""
    return from_node.derive("outcome", session)


def event_ring(author: Ring, session: str, turn: str, attempt: int) -> Ring:
    """Return the ring of one attempt's events; `author` is a ring that only the platform has, one for each author."""
    return author.derive("event", session, turn, str(attempt))
