"""Frames fit a Discord message, and open in their own channel, direction and node only."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeError, EnvelopeForged
from app.wire.frames import MESSAGE_LENGTH, TEXT_BYTES, Frame, FrameKind, content, cut, parse_content

MASTER = Ring((bytes(range(32)),))
KEYS = NodeKeys.of(MASTER, "home")
LONGEST_ID = 10**19 - 1
CHANNEL = 1_234_567_890
TURN = str(uuid4())


def test_a_full_frame_just_fits_a_message() -> None:
    frame = Frame(FrameKind.DELTA, TURN, 3, 70_000, b"x" * TEXT_BYTES)
    text = content(LONGEST_ID, frame.seal(KEYS, CHANNEL))
    assert text is not None
    assert len(text) == MESSAGE_LENGTH
    assert content(LONGEST_ID, Frame(FrameKind.DELTA, TURN, 3, 0, b"x" * (TEXT_BYTES + 1)).seal(KEYS, CHANNEL)) is None
    assert TEXT_BYTES >= 1390


@given(st.binary(max_size=4000), st.sampled_from(FrameKind), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1))
def test_what_was_sealed_comes_out(body: bytes, kind: FrameKind, attempt: int, at: int) -> None:
    frame = Frame(kind, TURN, attempt, at, body)
    assert Frame.open(frame.seal(KEYS, CHANNEL), KEYS, CHANNEL, from_node=kind.from_node) == frame


@pytest.mark.parametrize(
    ("keys", "channel", "from_node"),
    [
        (NodeKeys.of(MASTER, "other"), CHANNEL, True),
        (KEYS, CHANNEL + 1, True),
        (KEYS, CHANNEL, False),
        (NodeKeys.of(Ring((bytes(32),)), "home"), CHANNEL, True),
        (NodeKeys(KEYS.from_node, KEYS.to_node), CHANNEL, True),
    ],
    ids=["another node", "another channel", "another direction", "another key", "keys the wrong way round"],
)
def test_moved_frames_do_not_open(keys: NodeKeys, channel: int, from_node: bool) -> None:
    envelope = Frame(FrameKind.DELTA, TURN, 1, 0, b"text").seal(KEYS, CHANNEL)
    with pytest.raises(EnvelopeForged):
        Frame.open(envelope, keys, channel, from_node=from_node)


@given(st.data())
def test_a_changed_bit_does_not_open(data: st.DataObject) -> None:
    envelope = bytearray(Frame(FrameKind.DELTA, TURN, 1, 0, b"text").seal(KEYS, CHANNEL).encode())
    place = data.draw(st.integers(0, len(envelope) - 1))
    changed = envelope.copy()
    changed[place] ^= 1 << data.draw(st.integers(0, 6))
    with pytest.raises(EnvelopeError):
        Frame.open(changed.decode("latin-1"), KEYS, CHANNEL, from_node=True)


@given(st.binary(max_size=300))
def test_junk_does_not_open(junk: bytes) -> None:
    with pytest.raises(EnvelopeError):
        Frame.open(junk.decode("latin-1"), KEYS, CHANNEL, from_node=True)


@given(st.text(max_size=60), st.integers(1, 40))
def test_cut_never_ends_within_a_character(text: str, limit: int) -> None:
    data = text.encode(errors="replace")
    part = cut(data, limit)
    assert data.startswith(part)
    assert len(part) <= limit
    part.decode()
    assert len(part) >= min(len(data), limit - 3)


def test_contents() -> None:
    assert parse_content("<@42> 1gAAA_-=") == (42, "1gAAA_-=")
    assert parse_content("<@!42>") == (42, None)
    for text in ("hello", "<@42> two words", "<@x> 1gAA", "", "<@42>1gAA", "see <@42> 1gAA", "<@٤٢> 1gAA"):
        assert parse_content(text) is None
