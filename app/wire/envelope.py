"""Envelopes: bytes sealed with Fernet under a key derived for exactly one purpose, so that moved ones do not open."""

import base64
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.wire.errors import EnvelopeForged, EnvelopeTooOld

VERSION: Final = b"1"
"""First byte of every envelope; another one is refused, so that the format can change."""
KEY_BYTES: Final = 32
HAND_OVER_SECONDS: Final = 3600
"""Newer keys that were sealed longer ago are refused: they are sent again for as long as a node lacks them."""
CLOCK_SKEW_SECONDS: Final = 60
"""A message sealed this far in the future is still believed: clocks of homes differ."""


@lru_cache(maxsize=8192)
def _derive(key: bytes, info: tuple[str, ...]) -> bytes:
    # Length-prefixed, so that ("ab", "c") and ("a", "bc") never derive the same key.
    packed = b"".join(len(raw).to_bytes(2, "big") + raw for raw in (part.encode() for part in info))
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"meatlizard/1" + packed).derive(key)


@lru_cache(maxsize=8192)
def _fernet(key: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(key))


def _pad(data: bytes, limit: int | None) -> bytes:
    bucket = 64 if len(data) < 256 else 256 if len(data) < 4096 else 1024
    length = len(data) + 1 + -(len(data) + 1) % bucket
    return (data + b"\x80").ljust(length if limit is None else max(len(data) + 1, min(length, limit)), b"\0")


def _unpad(data: bytes) -> bytes:
    body = data.rstrip(b"\0")
    if not body.endswith(b"\x80"):
        raise EnvelopeForged
    return body[:-1]


@dataclass(frozen=True, slots=True, repr=False)
class Ring:
    """Keys for one purpose, newest first: the first seals, each of them opens."""

    keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Ring({len(self.keys)} keys)"

    @classmethod
    def parse(cls, text: str) -> "Ring":
        """Read comma-separated base64 keys as `Fernet.generate_key` makes them; raise ValueError saying which is bad."""
        keys = []
        for number, part in enumerate(filter(None, (piece.strip() for piece in text.split(","))), start=1):
            try:
                key = base64.urlsafe_b64decode(part)
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise ValueError(f"key {number} is not 32 bytes of URL-safe base64; make one with `meatlizard keys new`")
            keys.append(key)
        if not keys:
            raise ValueError("no key given; make one with `meatlizard keys new`")
        return cls(tuple(keys))

    def dump(self) -> str:
        """Return the form that `parse` reads."""
        return ",".join(base64.urlsafe_b64encode(key).decode() for key in self.keys)

    def derive(self, *info: str) -> "Ring":
        """Return the ring for a narrower purpose; nobody who holds it can get back to this one."""
        return Ring(tuple(_derive(key, info) for key in self.keys))

    def seal(self, data: bytes, limit: int | None = None) -> bytes:
        """Return `data` sealed; its length shows only as a multiple of 64, 256 or 1024 bytes.

        `limit` is the most bytes that padding may fill up to, where the envelope has to fit somewhere.
        """
        return VERSION + _fernet(self.keys[0]).encrypt(_pad(data, limit))

    def reseal(self, envelope: bytes) -> bytes | None:
        """Return what another of these keys sealed, sealed with the newest; None where that is so already."""
        try:
            Ring(self.keys[:1]).open(envelope)
        except EnvelopeForged:
            return self.seal(self.open(envelope))
        return None

    def open(self, envelope: bytes, max_age: float | None = None, skew: float = CLOCK_SKEW_SECONDS) -> bytes:
        """Return what was sealed, or raise EnvelopeForged, or EnvelopeTooOld where it is over `max_age` seconds old.

        `skew` is how far, in seconds, the sealer's clock may be ahead of ours.
        """
        if envelope[:1] != VERSION:
            raise EnvelopeForged
        token = envelope[1:]
        # Base64 has several spellings of the same bytes, and junk in it is passed over: only one spelling is ours.
        try:
            if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)) != token:
                raise EnvelopeForged
        except ValueError as error:
            raise EnvelopeForged from error
        for key in self.keys:
            fernet = _fernet(key)
            try:
                data = fernet.decrypt(token)
            except InvalidToken:
                continue
            if max_age is not None:
                age = time.time() - fernet.extract_timestamp(token)
                if not -skew <= age <= max_age:
                    raise EnvelopeTooOld
            return _unpad(data)
        raise EnvelopeForged

    def seal_raw(self, data: bytes) -> bytes:
        """Return a Fernet token of `data` as plain bytes, for what is not text and need not hide its length."""
        return base64.urlsafe_b64decode(_fernet(self.keys[0]).encrypt(data))

    def open_raw(self, token: bytes) -> bytes:
        """Return what `seal_raw` was given, or raise EnvelopeForged."""
        text = base64.urlsafe_b64encode(token)
        for key in self.keys:
            try:
                return _fernet(key).decrypt(text)
            except InvalidToken:
                continue
        raise EnvelopeForged


@dataclass(slots=True)
class NodeKeys:
    """The relay keys of one node: what it opens, and what it seals with; it opens nothing of any other node.

    A node holds one of these for as long as it runs, in all its doors, and `adopt`s newer ones into it.
    """

    to_node: Ring
    from_node: Ring

    @classmethod
    def of(cls, master: Ring, node: str) -> "NodeKeys":
        """Derive a node's keys from the master ring; only the platform can."""
        return cls(master.derive("relay", node, "to-node"), master.derive("relay", node, "from-node"))

    @classmethod
    def parse(cls, text: str) -> "NodeKeys":
        """Read what `dump` wrote; raise ValueError where it is not that."""
        to_node, separator, from_node = text.partition(";")
        if not separator:
            raise ValueError("the node keys are not whole; take the line again from `meatlizard node invite`")
        return cls(Ring.parse(to_node), Ring.parse(from_node))

    def dump(self) -> str:
        """Return both rings as one line for the node's settings."""
        return f"{self.to_node.dump()};{self.from_node.dump()}"

    @property
    def marks(self) -> tuple[str, ...]:
        """Name each pair of keys, newest first, without telling anything of it: how a node says which it holds."""
        return tuple(sha256(b"meatlizard/mark" + key).hexdigest()[:12] for key in self.to_node.keys)

    def led_by(self, marks: Collection[str]) -> "NodeKeys":
        """Return the same keys, the newest of those that are named in `marks` first: what is sealed then opens there."""
        first = next((place for place, mark in enumerate(self.marks) if mark in marks), 0)
        order = [first, *(place for place in range(len(self.to_node.keys)) if place != first)]
        to_node, from_node = self.to_node.keys, self.from_node.keys
        return NodeKeys(Ring(tuple(to_node[at] for at in order)), Ring(tuple(from_node[at] for at in order)))

    def hand_over(self, newer: "NodeKeys") -> str:
        """Return `newer` sealed with these, for the node that holds these."""
        return self.to_node.derive("keys").seal(newer.dump().encode()).decode()

    def adopt(self, envelope: str) -> None:
        """Take over what `hand_over` sealed; raise EnvelopeError where it was not sealed for this node, or long ago."""
        try:
            newer = NodeKeys.parse(self.to_node.derive("keys").open(envelope.encode(), HAND_OVER_SECONDS).decode())
        except (ValueError, UnicodeDecodeError) as error:
            raise EnvelopeForged from error
        self.to_node, self.from_node = newer.to_node, newer.from_node
