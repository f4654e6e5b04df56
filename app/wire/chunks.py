"""Chunks: a stream of any length sealed piece by piece, so that none is missing, doubled, moved or from elsewhere."""

import base64
import os
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from app.wire.envelope import Ring
from app.wire.errors import EnvelopeForged

MAGIC: Final = b"MLC1"
"""First bytes of every sealed stream; others are refused, so that the format can change."""
SALT_BYTES: Final = 16
"""Makes each stream's keys its own: a chunk of an earlier version of the same object does not fit into this one."""
CHUNK_BYTES: Final = 256 * 1024
"""Plain bytes in a chunk: what is held in memory at once, against some 100 bytes of overhead for each."""
LONGEST: Final = CHUNK_BYTES + 4096
"""Sealed bytes of a chunk at most; a length over it is not read, let alone kept in memory."""
_LENGTH: Final = 4
_NUMBER: Final = 8
_MORE, _LAST = b"\0", b"\1"


class Readable(Protocol):
    """Whatever bytes can be read from, a piece at a time."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


def seal(pieces: Iterable[bytes], ring: Ring, name: str) -> Iterator[bytes]:
    """Yield a stream sealed in chunks, for the object called `name`; it opens with the same ring and name only.

    Layout: magic, salt, then for each chunk its length (4 bytes, big-endian) and a Fernet token (raw, not in base64) of
    its number (8 bytes), a mark that says whether it is the last, and up to CHUNK_BYTES of the stream.
    """
    salt = os.urandom(SALT_BYTES)
    yield MAGIC + salt
    own = _ring(ring, name, salt)
    number, waiting = 0, bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield _sealed(own, number, _MORE, bytes(waiting[:CHUNK_BYTES]))
            del waiting[:CHUNK_BYTES]
            number += 1
    yield _sealed(own, number, _LAST, bytes(waiting))


def unseal(source: Readable, ring: Ring, name: str) -> Iterator[bytes]:
    """Yield what `seal` was given, each chunk once it is known to be genuine and in its place.

    Raises EnvelopeForged for anything else: cut short, reordered, repeated, swapped, prolonged, or another object's.
    What was yielded before that is genuine, but not the whole: take it for good only after the end.
    """
    head = _exactly(source, len(MAGIC) + SALT_BYTES)
    if not head.startswith(MAGIC):
        raise EnvelopeForged
    own = _ring(ring, name, head[len(MAGIC) :])
    number, last = 0, False
    while not last:
        length = int.from_bytes(_exactly(source, _LENGTH), "big")
        if length > LONGEST:
            raise EnvelopeForged
        data = own.open_raw(_exactly(source, length))
        last = data[_NUMBER : _NUMBER + 1] == _LAST
        if int.from_bytes(data[:_NUMBER], "big") != number or len(data) <= _NUMBER:
            raise EnvelopeForged
        yield data[_NUMBER + 1 :]
        number += 1
    if source.read(1):
        raise EnvelopeForged


def _ring(ring: Ring, name: str, salt: bytes) -> Ring:
    return ring.derive("chunks", name, base64.b16encode(salt).decode())


def _sealed(ring: Ring, number: int, mark: bytes, data: bytes) -> bytes:
    token = ring.seal_raw(number.to_bytes(_NUMBER, "big") + mark + data)
    return len(token).to_bytes(_LENGTH, "big") + token


def _exactly(source: Readable, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = source.read(size - len(found))
        if not piece:
            raise EnvelopeForged
        found += piece
    return bytes(found)
