"""Events and jobs: what comes out is what went in, and a header changed on the way is refused."""

import time
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as some

from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeError, EnvelopeForged, EnvelopeTooOld
from app.wire.events import OF_NODES, PLATFORM, Event, Sealer, unseal
from app.wire.jobs import FORMAT, Job, Outcome, event_ring
from app.wire.names import ENVELOPE_MAX_AGE_SECONDS
from app.wire.states import EventKind, TurnState

MASTER = Ring.parse(Fernet.generate_key().decode())
HOME, AWAY = NodeKeys.of(MASTER, "home"), NodeKeys.of(MASTER, "away")
NODES = {"home": HOME, "away": AWAY}


def ring_of(author: str, turn: str, attempt: int, session: str = "s") -> Ring:
    return event_ring(MASTER.derive("relay", author, "events"), session, turn, attempt)


def sealed(event: Event, session: str = "s") -> bytes:
    author = "home" if event.kind in OF_NODES else PLATFORM
    return Sealer(ring_of(author, event.turn, event.attempt, session), event.turn, event.attempt, author).seal(event)


texts = some.text(max_size=200)
some_events = some.builds(
    Event,
    some.sampled_from(EventKind),
    some.uuids().map(str),
    some.integers(1, 9),
    some.none() | some.integers(0, 1 << 40),
    some.none() | texts,
    some.dictionaries(some.sampled_from(["node", "left_out", "position"]), some.integers(0, 99)),
    some.just("home"),
).map(lambda event: event if event.kind in OF_NODES else replace(event, node=PLATFORM))


@given(some_events)
def test_comes_out_as_it_went_in(event: Event) -> None:
    if event.kind in OF_NODES:
        said = {"node": "home", "left_out": event.data.get("left_out", 0)} if event.kind is EventKind.STARTED else {}
        event = replace(event, data=said)
    assert unseal(sealed(event), ring_of) == event


@given(texts)
def test_ends_where_its_bytes_end(text: str) -> None:
    assert Event(EventKind.DELTA, "t", 1, 7, text).end == 7 + len(text.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"t": "other"},
        {"a": 2},
        {"k": "done"},
        {"n": "away"},
        {"n": ""},
        {"n": "nobody"},
        {"k": "no such kind"},
        {"s": "1nothing"},
        {"s": None},
        {"s": 7},
        {"s": "ü"},
        {"n": 7},
        {"n": ["x"]},
        {"k": []},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, Any]) -> None:
    header = orjson.loads(sealed(Event(EventKind.DELTA, "t", 1, 0, "text")))
    with pytest.raises(EnvelopeForged):
        unseal(orjson.dumps(header | change), lambda node, turn, attempt: ring_of(node, turn, attempt) if node in NODES else MASTER)


@pytest.mark.parametrize("left_out", ["t", "a", "k", "n", "s"])
def test_a_header_that_lacks_something_is_refused(left_out: str) -> None:
    header = orjson.loads(sealed(Event(EventKind.DELTA, "t", 1, 0, "text")))
    del header[left_out]
    with pytest.raises(EnvelopeForged):
        unseal(orjson.dumps(header), ring_of)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"7", b'"text"', b"{", b"\xff\xfe"])
def test_what_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(EnvelopeForged):
        unseal(raw, ring_of)


def test_an_event_of_another_session_does_not_open() -> None:
    with pytest.raises(EnvelopeForged):
        unseal(sealed(Event(EventKind.DELTA, "t", 1, 0, "text"), session="other"), ring_of)


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind not in OF_NODES])
def test_a_node_ends_no_turn_and_gives_nobody_a_place(kind: EventKind) -> None:
    """Even with the key of the very attempt: that a turn is over is the platform's word."""
    made = Sealer(ring_of("home", "t", 1), "t", 1, "home").seal(Event(kind, "t", 1, 0))
    with pytest.raises(EnvelopeForged):
        unseal(made, ring_of)


@pytest.mark.parametrize(("turn", "attempt"), [("other", 1), ("t", 2)])
def test_the_key_of_one_attempt_says_nothing_in_another(turn: str, attempt: int) -> None:
    given = ring_of("home", "t", 1)
    made = Sealer(given, turn, attempt, "home").seal(Event(EventKind.DELTA, turn, attempt, 0, "not asked for"))
    with pytest.raises(EnvelopeForged):
        unseal(made, ring_of)


def test_nothing_of_the_text_shows_on_the_stream() -> None:
    assert b"MARKER" not in sealed(Event(EventKind.DELTA, "t", 1, 0, "MARKER", {"reason": "MARKER"}))


JOB = Job("t", 1, "s", [{"role": "user", "content": "MARKER 🌈"}], {"seed": 1}, "so far")


def test_a_job_is_for_its_node_turn_and_attempt() -> None:
    made = JOB.seal(HOME)
    assert "MARKER" not in made
    assert Job.open(made, HOME, "t", 1) == JOB
    for keys, turn, attempt in ((AWAY, "t", 1), (HOME, "other", 1), (HOME, "t", 2)):
        with pytest.raises(EnvelopeForged):
            Job.open(made, keys, turn, attempt)


def test_a_whole_conversation_goes_to_nodes_that_know_of_no_other_too() -> None:
    short = replace(JOB, left_out=7)
    assert Job.open(short.seal(HOME), HOME, "t", 1) == short
    bodies = [orjson.loads(HOME.to_node.derive("job").open(job.seal(HOME).encode())) for job in (JOB, short)]
    assert ["left_out" in body for body in bodies] == [False, True]


def test_an_old_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = JOB.seal(HOME)
    later = time.time() + ENVELOPE_MAX_AGE_SECONDS + 5
    monkeypatch.setattr("app.wire.envelope.time.time", lambda: later)
    with pytest.raises(EnvelopeTooOld):
        Job.open(made, HOME, "t", 1)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"x"', b"{}", b'{"turn": "t", "attempt": 1, "session": "s", "messages": [], "new": 1}']
)
def test_a_job_or_outcome_of_another_shape_is_refused(body: bytes) -> None:
    job = HOME.to_node.derive("job").seal(body).decode()
    outcome = HOME.from_node.derive("outcome", "s").seal(body).decode()
    with pytest.raises(EnvelopeError):
        Job.open(job, HOME, "t", 1)
    with pytest.raises(EnvelopeError):
        Outcome.open(outcome, HOME, "s", "t", 1)


def test_a_job_of_another_format_is_refused() -> None:
    made = Job("t", 1, "s", [], format=FORMAT + 1).seal(HOME)
    with pytest.raises(EnvelopeForged):
        Job.open(made, HOME, "t", 1)


@given(texts, some.sampled_from([TurnState.DONE, TurnState.FAILED, TurnState.CANCELLED]))
def test_an_outcome_is_its_turns_own(text: str, state: TurnState) -> None:
    outcome = Outcome.of("t", 1, state, text, reason="why", completion_tokens=3)
    made = outcome.seal(HOME, "s")
    assert Outcome.open(made, HOME, "s", "t", 1) == outcome
    for keys, session, turn, attempt in ((AWAY, "s", "t", 1), (HOME, "x", "t", 1), (HOME, "s", "x", 1), (HOME, "s", "t", 2)):
        with pytest.raises(EnvelopeForged):
            Outcome.open(made, keys, session, turn, attempt)


def test_an_outcome_whose_text_does_not_fit_its_hash_is_refused() -> None:
    outcome = Outcome("t", 1, "done", "one text", sha256="0" * 64)
    with pytest.raises(EnvelopeForged):
        Outcome.open(outcome.seal(HOME, "s"), HOME, "s", "t", 1)


@pytest.mark.parametrize("envelope", ["", "1", "ü", "x" * 1000])
def test_an_envelope_that_is_none_is_refused(envelope: str) -> None:
    with pytest.raises(EnvelopeError):
        Outcome.open(envelope, HOME, "s", "t", 1)
    with pytest.raises(EnvelopeError):
        Job.open(envelope, HOME, "t", 1)
