"""Hypothesis on everything that reads bytes from others: no crash but the error it promises, and nothing forged passes.

Short here; `make fuzz` makes a million inputs.
"""

import contextlib
import json
import os
from typing import Any

import orjson
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from app.web import messages
from app.wire import frames
from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import BadInput, EnvelopeError, EnvelopeForged
from app.wire.events import Event, Sealer, unseal
from app.wire.frames import Frame, FrameKind
from app.wire.jobs import Job, Outcome, event_ring
from app.wire.states import EventKind, TurnState

EXAMPLES = int(os.environ.get("MEATLIZARD_FUZZ_EXAMPLES", "150"))
LONG = hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

MASTER = Ring((b"k" * 32,))
KEYS = NodeKeys.of(MASTER, "home")
OTHER = NodeKeys.of(MASTER, "away")
TURN = "0190c1b2-0000-7000-8000-000000000001"
SESSION = "0190c1b2-0000-7000-8000-000000000002"
CHANNEL = 1234567890

JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def bent(draw: DrawFn, sound: bytes) -> bytes:
    """A sound message, changed in a few places, cut, doubled or mixed with junk."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "insert", "swap"])):
            case "flip" if data:
                data[place] ^= draw(st.integers(1, 255))
            case "cut":
                del data[place:]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "swap" if data:
                data[place:] = data[place:][::-1]
    return bytes(data)


ENVELOPE = MASTER.derive("rest").seal(b"words")


@LONG
@given(st.binary(max_size=400) | bent(ENVELOPE))
def test_no_envelope_opens_but_the_one_that_was_sealed(raw: bytes) -> None:
    with contextlib.suppress(EnvelopeError):
        assert (MASTER.derive("rest").open(raw), raw) == (b"words", ENVELOPE)


FRAME = Frame(FrameKind.STOP, TURN, 1, 0, b"").seal(KEYS, CHANNEL)


@LONG
@given(st.text(max_size=400) | bent(FRAME.encode()).map(lambda raw: raw.decode("utf-8", "replace")))
def test_no_frame_opens_but_the_one_that_was_sealed(text: str) -> None:
    frames.parse_content(text)
    try:
        Frame.open(text, KEYS, CHANNEL, from_node=False)
        assert text == FRAME
    except EnvelopeError:
        pass


@LONG
@given(st.binary(max_size=200))
def test_a_frame_of_any_bytes_is_refused_or_sound(body: bytes) -> None:
    """Somebody who holds the key but no good will: what is sealed inside may be anything."""
    ring = frames._ring(KEYS, CHANNEL, from_node=True)
    try:
        frame = Frame.open(ring.seal(body).decode(), KEYS, CHANNEL, from_node=True)
    except EnvelopeForged:
        return
    assert frame.kind.from_node


SEALER = Sealer(event_ring(KEYS.from_node, SESSION, TURN, 1), TURN, 1, "home")
EVENT = SEALER.seal(Event(EventKind.DELTA, TURN, 1, at=0, text="Hi", node="home"))


def ring_of(author: str, turn: str, attempt: int) -> Ring:
    return event_ring(NodeKeys.of(MASTER, author).from_node, SESSION, turn, attempt)


@LONG
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()) | bent(EVENT))
def test_no_event_is_believed_but_the_one_that_was_sealed(raw: bytes) -> None:
    try:
        event = unseal(raw, ring_of)
    except EnvelopeError:
        return
    # The header may be written otherwise (spaces, the order of its fields), never say anything else.
    assert orjson.loads(raw)["s"] == orjson.loads(EVENT)["s"]
    assert (event.kind, event.turn, event.attempt, event.text, event.node) == (EventKind.DELTA, TURN, 1, "Hi", "home")


BODY = st.fixed_dictionaries(
    {"t": st.just(TURN), "a": st.just(1), "k": st.just("delta")}, optional={"at": JSON, "text": JSON, "x": JSON}
)


@LONG
@given(JSON | BODY)
def test_an_event_of_any_sealed_body_is_refused_or_read(body: Any) -> None:
    header = {"k": "delta", "t": TURN, "a": 1, "n": "home"}
    header["s"] = SEALER.ring.seal(json.dumps(body).encode()).decode()
    with contextlib.suppress(EnvelopeForged):
        event = unseal(orjson.dumps(header), ring_of)
        assert event.end >= 0


JOB = Job(TURN, 1, SESSION, [{"role": "user", "content": "Hi"}]).seal(KEYS)
OUTCOME = Outcome.of(TURN, 1, TurnState.DONE, "Hi").seal(KEYS, SESSION)


@LONG
@given(bent(JOB.encode()) | bent(OUTCOME.encode()) | st.binary(max_size=300))
def test_no_job_or_outcome_opens_but_the_one_that_was_sealed(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    for sealed, read in (
        (JOB, lambda: Job.open(text, KEYS, TURN, 1)),
        (OUTCOME, lambda: Outcome.open(text, KEYS, SESSION, TURN, 1)),
    ):
        try:
            read()
            assert text == sealed
        except EnvelopeError:
            pass


@LONG
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(Outcome.__dataclass_fields__, JSON)) | JSON)
def test_an_outcome_of_any_sealed_body_is_refused_or_sound(body: Any) -> None:
    from app.wire.jobs import outcome_ring

    sealed = outcome_ring(KEYS.from_node, SESSION).seal(json.dumps(body).encode()).decode()
    try:
        outcome = Outcome.open(sealed, KEYS, SESSION, TURN, 1)
    except EnvelopeForged:
        return
    assert (outcome.turn, outcome.attempt) == (TURN, 1)


@LONG
@given(st.sampled_from([JOB, OUTCOME]), st.sampled_from(["turn", "attempt", "node", "session"]))
def test_what_was_sealed_for_one_place_opens_in_no_other(sealed: str, moved: str) -> None:
    keys = OTHER if moved == "node" else KEYS
    turn, attempt = (SESSION, 1) if moved == "turn" else (TURN, 2 if moved == "attempt" else 1)
    session = TURN if moved == "session" else SESSION
    for read in (lambda: Job.open(sealed, keys, turn, attempt), lambda: Outcome.open(sealed, keys, session, turn, attempt)):
        try:
            read()
        except EnvelopeError:
            continue
        # A job is bound to its node; the session stands inside of it.
        assert moved == "session"
        assert sealed is JOB


MESSAGES = st.fixed_dictionaries(
    {"type": st.sampled_from(["prompt", "retry", "stop", "resume", "ping"]) | st.text(max_size=8)},
    optional={
        name: JSON | st.just(TURN) for name in ("id", "text", "parent", "turn", "at", "sampling", "__proto__", "type ")
    },
)


@LONG
@given(st.text(max_size=300) | JSON.map(json.dumps) | MESSAGES.map(json.dumps) | st.none())
def test_a_message_of_a_page_is_read_or_refused_plainly(text: str | None) -> None:
    with contextlib.suppress(BadInput):  # Anything else that is raised fails this.
        messages.parse(text)
