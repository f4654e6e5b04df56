"""An envelope opens for exactly the purpose, session, node and direction it was sealed for, and says nothing else."""

import base64
import time

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as some

from app.wire import envelope
from app.wire.envelope import CLOCK_SKEW_SECONDS, NodeKeys, Ring
from app.wire.errors import EnvelopeError, EnvelopeForged, EnvelopeTooOld
from app.wire.jobs import event_ring, outcome_ring


def fresh() -> Ring:
    return Ring.parse(Fernet.generate_key().decode())


MASTER = fresh()
NODE = NodeKeys.of(MASTER, "home")
OTHER = NodeKeys.of(MASTER, "away")
RINGS = {
    "master": MASTER,
    "rest of a": MASTER.derive("rest", "a"),
    "rest of b": MASTER.derive("rest", "b"),
    "joined words": MASTER.derive("resta"),
    "words split elsewhere": MASTER.derive("res", "ta"),
    "jobs of home": NODE.to_node.derive("job"),
    "jobs of away": OTHER.to_node.derive("job"),
    "jobs, other direction": NODE.from_node.derive("job"),
    "events of a": event_ring(NODE.from_node, "a", "turn", 1),
    "events of b": event_ring(NODE.from_node, "b", "turn", 1),
    "events of a, away": event_ring(OTHER.from_node, "a", "turn", 1),
    "events of a, another turn": event_ring(NODE.from_node, "a", "other", 1),
    "events of a, another attempt": event_ring(NODE.from_node, "a", "turn", 2),
    "outcomes of a": outcome_ring(NODE.from_node, "a"),
}


@pytest.mark.parametrize("sealed", RINGS)
@pytest.mark.parametrize("opened", RINGS)
def test_opens_for_its_own_purpose_only(sealed: str, opened: str) -> None:
    made = RINGS[sealed].seal(b"plain")
    if sealed == opened:
        assert RINGS[opened].open(made) == b"plain"
    else:
        with pytest.raises(EnvelopeForged):
            RINGS[opened].open(made)


@given(some.binary(max_size=5000))
def test_gives_back_what_was_sealed(data: bytes) -> None:
    assert MASTER.open(MASTER.seal(data)) == data


@given(some.binary(max_size=300), some.data())
def test_one_changed_bit_is_refused(data: bytes, choice: some.DataObject) -> None:
    made = bytearray(MASTER.seal(data))
    place = choice.draw(some.integers(0, len(made) - 1))
    bit = choice.draw(some.integers(0, 7))
    made[place] ^= 1 << bit
    try:
        opened = MASTER.open(bytes(made))
    except EnvelopeError:
        return
    # Base64's last character has bits that mean nothing: flipping one changes the spelling, not what is said.
    assert opened == data
    assert place >= len(made.rstrip(b"=")) - 2


@given(some.binary(max_size=300), some.integers(4, 200))
def test_a_cut_envelope_is_refused(data: bytes, cut: int) -> None:
    made = MASTER.seal(data)
    for bad in (made[:-cut], made[:1] + made[1 + cut :], b"", envelope.VERSION, b"2" + made[1:]):
        with pytest.raises(EnvelopeError):
            MASTER.open(bad)


@given(some.binary(max_size=300), some.binary(min_size=1, max_size=200))
def test_a_lengthened_envelope_says_nothing_else(data: bytes, more: bytes) -> None:
    try:
        assert MASTER.open(MASTER.seal(data) + more) == data
    except EnvelopeForged:
        return


@given(some.binary(max_size=200))
def test_garbage_is_refused_not_an_accident(data: bytes) -> None:
    for bad in (data, envelope.VERSION + data, envelope.VERSION + base64.urlsafe_b64encode(data)):
        with pytest.raises(EnvelopeForged):
            MASTER.open(bad)


def test_old_keys_open_and_the_newest_seals() -> None:
    old, new = fresh(), fresh()
    both = Ring((*new.keys, *old.keys))
    assert both.open(old.seal(b"before")) == b"before"
    assert new.open(both.seal(b"after")) == b"after"
    with pytest.raises(EnvelopeForged):
        old.open(both.seal(b"after"))
    assert both.derive("rest", "a").open(old.derive("rest", "a").seal(b"below")) == b"below"


def test_age_is_bounded_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = MASTER.seal(b"x"), time.time()

    def at(seconds: float) -> None:
        monkeypatch.setattr(envelope.time, "time", lambda: now + seconds)

    at(99)
    assert MASTER.open(made, max_age=100) == b"x"
    at(102)
    with pytest.raises(EnvelopeTooOld):
        MASTER.open(made, max_age=100)
    assert MASTER.open(made) == b"x"
    at(-CLOCK_SKEW_SECONDS + 2)
    assert MASTER.open(made, max_age=100) == b"x"
    at(-CLOCK_SKEW_SECONDS - 2)
    with pytest.raises(EnvelopeTooOld):
        MASTER.open(made, max_age=100)


def test_padding_hides_lengths() -> None:
    short = {len(MASTER.seal(b"x" * length)) for length in range(63)}
    assert len(short) == 1, "yes and no look the same"
    assert len({len(MASTER.seal(b"x" * length)) for length in range(4096)}) <= 4 + 16
    whole = {len(MASTER.seal(b"x" * length)) for length in range(4096, 4096 + 8 * 1024, 16)}
    assert len(whole) <= 9


@given(some.binary(max_size=100))
def test_padding_keeps_zeros_and_marks(data: bytes) -> None:
    for awkward in (data + b"\0", data + b"\x80", data + b"\x80\0\0", b"\0" * 64 + data):
        assert MASTER.open(MASTER.seal(awkward)) == awkward


@pytest.mark.parametrize("text", ["", " , ", "short", "A" * 44, "QI661jvB60P-LWFAZH-0HFWmuMpwT1h37QAleDPo", "ü" * 44])
def test_bad_keys_are_named_with_what_to_do(text: str) -> None:
    with pytest.raises(ValueError, match="keys new"):
        Ring.parse(text)


def test_no_key_shows_in_any_repr() -> None:
    ring = fresh()
    for shown in (repr(ring), repr(NodeKeys.of(ring, "home")), f"{ring}"):
        assert ring.dump() not in shown
        assert str(ring.keys[0])[2:-1] not in shown


def test_node_keys_travel_as_one_line_and_open_nothing_else() -> None:
    given_keys = NodeKeys.parse(NODE.dump())
    assert given_keys == NODE
    assert "\n" not in NODE.dump()
    assert NODE.to_node.open(given_keys.to_node.seal(b"x")) == b"x"
    for bad in ("", "one", ";", NODE.dump().split(";")[0]):
        with pytest.raises(ValueError):
            NodeKeys.parse(bad)


def test_newer_keys_are_handed_over_under_those_a_node_has() -> None:
    older, newer = fresh(), fresh()
    held = NodeKeys.of(older, "home")
    both = NodeKeys.of(Ring((*newer.keys, *older.keys)), "home")
    assert set(held.marks) < set(both.marks)
    assert both.led_by(held.marks).marks[0] == held.marks[0]
    assert both.led_by(()) == both.led_by(both.marks) == both
    handed = both.led_by(held.marks).hand_over(both)
    for stranger in (NodeKeys.of(older, "home-2"), NodeKeys.of(newer, "home")):
        before = stranger.dump()
        with pytest.raises(EnvelopeForged):
            stranger.adopt(handed)
        assert stranger.dump() == before
    held.adopt(handed)
    assert held == both
    for junk in ("", "x", held.to_node.seal(b"keys").decode(), held.to_node.derive("keys").seal(b"junk").decode()):
        with pytest.raises(EnvelopeForged):
            held.adopt(junk)
    assert held == both


def test_resealing_changes_only_what_an_older_key_sealed() -> None:
    older, newer = fresh(), fresh()
    ring = Ring((*newer.keys, *older.keys))
    anew = ring.reseal(older.seal(b"words"))
    assert anew is not None
    assert newer.open(anew) == b"words"
    assert ring.reseal(anew) is None
    with pytest.raises(EnvelopeForged):
        ring.reseal(fresh().seal(b"x"))
