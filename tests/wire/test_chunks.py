"""Sealed streams: whole or refused, for their own object only, and never all in memory."""

import io
import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from app.wire import chunks
from app.wire.envelope import Ring
from app.wire.errors import EnvelopeForged

RING = Ring.parse(Fernet.generate_key().decode())
OTHER = Ring.parse(Fernet.generate_key().decode())
HEAD = len(chunks.MAGIC) + chunks.SALT_BYTES
LONG = [bytes([number]) * chunks.CHUNK_BYTES for number in range(4)]


def sealed(pieces: list[bytes], name: str = "a", ring: Ring = RING) -> bytes:
    return b"".join(chunks.seal(pieces, ring, name))


def opened(data: bytes, name: str = "a", ring: Ring = RING) -> bytes:
    return b"".join(chunks.unseal(io.BytesIO(data), ring, name))


def parts(data: bytes) -> list[bytes]:
    """Take a sealed stream apart: its head, then each chunk with its length."""
    found, at = [data[:HEAD]], HEAD
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_what_was_sealed_opens(pieces: list[bytes]) -> None:
    assert opened(sealed(pieces)) == b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, chunks.CHUNK_BYTES - 1, chunks.CHUNK_BYTES, chunks.CHUNK_BYTES + 1, 3 * chunks.CHUNK_BYTES])
def test_every_length_opens(size: int) -> None:
    assert opened(sealed([b"x" * size])) == b"x" * size


def test_an_older_key_still_opens_and_a_new_one_seals() -> None:
    both = Ring((*OTHER.keys, *RING.keys))
    assert opened(sealed([b"old"]), ring=both) == b"old"
    assert opened(sealed([b"new"], ring=both), ring=OTHER) == b"new"


def test_nothing_of_the_text_is_seen() -> None:
    assert b"marmalade" not in sealed([b"marmalade" * 100])


@pytest.mark.parametrize("cut", [0, 3, HEAD - 1, HEAD, HEAD + 2, HEAD + 100, -1, -200])
def test_what_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(EnvelopeForged):
        opened(sealed(LONG)[:cut])


def test_without_its_last_chunk_it_is_refused() -> None:
    with pytest.raises(EnvelopeForged):
        opened(b"".join(parts(sealed(LONG))[:-1]))


def test_any_other_order_is_refused() -> None:
    head, *rest = parts(sealed(LONG))
    assert len(rest) == 4
    for order in itertools.permutations(rest):
        if list(order) != rest:
            with pytest.raises(EnvelopeForged):
                opened(head + b"".join(order))


@pytest.mark.parametrize("number", range(4))
def test_a_chunk_twice_or_missing_is_refused(number: int) -> None:
    head, *rest = parts(sealed(LONG))
    for changed in ([*rest[: number + 1], *rest[number:]], [*rest[:number], *rest[number + 1 :]]):
        with pytest.raises(EnvelopeForged):
            opened(head + b"".join(changed))


def test_what_follows_the_last_chunk_is_refused() -> None:
    with pytest.raises(EnvelopeForged):
        opened(sealed(LONG) + b"x")


def test_a_chunk_of_another_stream_of_the_same_object_is_refused() -> None:
    first, second = parts(sealed(LONG)), parts(sealed(LONG))
    with pytest.raises(EnvelopeForged):
        opened(b"".join([*first[:2], second[2], *first[3:]]))


def test_another_object_purpose_or_key_does_not_open_it() -> None:
    data = sealed(LONG)
    for name, ring in (("b", RING), ("a", OTHER), ("a", RING.derive("archive"))):
        with pytest.raises(EnvelopeForged):
            opened(data, name, ring)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_no_changed_byte_passes(place: int, change: int) -> None:
    data = bytearray(sealed([b"hello"]))
    data[place % len(data)] ^= change
    with pytest.raises(EnvelopeForged):
        opened(bytes(data))


def test_a_length_out_of_all_bounds_is_not_read() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert size <= chunks.LONGEST
            return b"\xff" * size

    with pytest.raises(EnvelopeForged):
        list(chunks.unseal(_After(sealed([])[:HEAD], Endless()), RING, "a"))


class _After:
    def __init__(self, head: bytes, rest: io.RawIOBase) -> None:
        self.head, self.rest = io.BytesIO(head), rest

    def read(self, size: int) -> bytes:
        return self.head.read(size) or self.rest.read(size) or b""


def test_memory_stays_flat() -> None:
    """Forty times as much as a chunk goes through, and a few chunks are held."""

    def much() -> Iterator[bytes]:
        for _ in range(40 * 4):
            yield bytes(chunks.CHUNK_BYTES // 4)

    class Pipe:
        def __init__(self, pieces: Iterator[bytes]) -> None:
            self.pieces, self.rest = pieces, b""

        def read(self, size: int) -> bytes:
            if not self.rest:
                self.rest = next(self.pieces, b"")
            taken, self.rest = self.rest[:size], self.rest[size:]
            return taken

    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in chunks.unseal(Pipe(chunks.seal(much(), RING, "a")), RING, "a"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 40 * chunks.CHUNK_BYTES
    assert peak < 16 * chunks.CHUNK_BYTES
