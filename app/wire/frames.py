"""Frames: what crosses a Discord channel between Server-Bot and Client-Bot, sealed, one to a message."""

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from uuid import UUID

from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeForged

MESSAGE_LENGTH: Final = 2000
"""Characters of a Discord message (Discord's documentation, Create Message)."""
FRAME_BYTES: Final = 1423
"""Plain bytes whose envelope just fits beside the mention of an id of 19 digits (Discord's have 20 from 2090 on).

Fernet adds 57 bytes and pads to 16, base64 adds a third, the envelope's version one character.
"""
SKEW_SECONDS: Final = 900
"""How far a home's clock may be off; replays are refused by turn, attempt and place, not by the clock."""
MAX_AGE_SECONDS: Final = 3600 + SKEW_SECONDS
"""An older frame is refused: the platform has given its turn to another attempt long ago."""

_HEAD: Final = struct.Struct(">BB16sHQ")
_CONTENT: Final = re.compile(r"<@!?(\d{1,20})>(?: ([0-9A-Za-z_=-]+))?\s*", re.ASCII)
FORMAT: Final = 1
TEXT_BYTES: Final = FRAME_BYTES - 1 - _HEAD.size
"""Bytes of a reply's text that one frame carries; the 1 is where the padding begins."""
NO_TURN: Final = UUID(int=0)
ATTACHMENT: Final = "frame.ml"
"""File name of a frame that is too long for a message's text."""


class FrameKind(IntEnum):
    """What a frame says; those from 64 on come from a node."""

    PROMPT = 1
    """A sealed job follows (`jobs.Job`, as JSON)."""
    STOP = 2
    DRAIN = 3
    PING = 4
    RESEND = 5
    """Send again from byte `at` on: something is missing."""
    CLOSED = 6
    """The turn's outcome is in PostgreSQL: nothing is left to do."""
    MIRROR = 7
    """The record of a turn that went by the queue lane; no node acts on it."""
    KEYS = 8
    """Newer relay keys, sealed once more under those that the node has."""

    HELLO = 64
    """What the node is: models, slots, health, as JSON."""
    PONG = 65
    STARTED = 66
    DELTA = 67
    END = 68
    """How the attempt ended: `jobs.Outcome` as JSON, its text left out."""

    @property
    def from_node(self) -> bool:
        """Say which direction it goes; the other one's key does not open it."""
        return self >= FrameKind.HELLO


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the discord lane. `at` is the place in the reply in UTF-8 bytes, or a ping's number."""

    kind: FrameKind
    turn: str = str(NO_TURN)
    attempt: int = 0
    at: int = 0
    body: bytes = b""

    def seal(self, keys: NodeKeys, channel: int) -> str:
        """Return the frame as a message carries it; bound to node, direction and channel."""
        head = _HEAD.pack(FORMAT, self.kind, UUID(self.turn).bytes, self.attempt, self.at)
        return _ring(keys, channel, from_node=self.kind.from_node).seal(head + self.body, FRAME_BYTES).decode()

    @classmethod
    def open(cls, envelope: str, keys: NodeKeys, channel: int, *, from_node: bool) -> "Frame":
        """Open what came in a channel; raise EnvelopeError where it was not sealed for here, or is too old."""
        ring = _ring(keys, channel, from_node=from_node)
        data = ring.open(envelope.encode(), MAX_AGE_SECONDS, SKEW_SECONDS)
        try:
            form, kind, turn, attempt, at = _HEAD.unpack_from(data)
            frame = cls(FrameKind(kind), str(UUID(bytes=turn)), attempt, at, data[_HEAD.size :])
        except (struct.error, ValueError) as error:
            raise EnvelopeForged from error
        if form != FORMAT or frame.kind.from_node is not from_node:
            raise EnvelopeForged
        return frame


def _ring(keys: NodeKeys, channel: int, *, from_node: bool) -> Ring:
    return (keys.from_node if from_node else keys.to_node).derive("frame", str(channel))


def content(peer: int, envelope: str) -> str | None:
    """Return the text of a message with this frame; None where it is too long and goes as an attachment.

    The mention of `peer` is what lets it read the message without a privileged intent.
    """
    text = f"<@{peer}> {envelope}"
    return text if len(text) <= MESSAGE_LENGTH else None


def parse_content(text: str) -> tuple[int, str | None] | None:
    """Return who a message is for, and its envelope (None: it is attached); None where it is no frame at all."""
    found = _CONTENT.fullmatch(text)
    return (int(found[1]), found[2]) if found else None


def cut(data: bytes, limit: int = TEXT_BYTES) -> bytes:
    """Return as much of UTF-8 text as one frame carries, never ending within a character."""
    if len(data) <= limit:
        return data
    while limit and data[limit] & 0xC0 == 0x80:
        limit -= 1
    return data[:limit]
