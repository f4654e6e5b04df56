"""What a node hands in to the platform: three kinds of message, checked to the letter, since a stolen node writes here too."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

import orjson

from app.wire.errors import EnvelopeForged
from app.wire.names import NODE_NAME

LARGEST_BYTES: Final = 4 << 20
"""A reply of 32,768 tokens, sealed, is a tenth of it."""
LARGEST_ATTEMPT: Final = 1000


class Asked(StrEnum):
    """What a node may ask for."""

    FINISH = "finish"
    """Take in an attempt's outcome."""
    RESTORE = "restore"
    """Write what PostgreSQL knows of a running turn into a Redis that has lost it."""
    DISPATCH = "dispatch"
    """Give waiting turns out: the node has just come up."""


@dataclass(frozen=True, slots=True)
class Handed:
    """One message."""

    asked: Asked
    node: str
    turn: str = ""
    attempt: int = 0
    envelope: str = ""
    """The sealed outcome; whoever it says it is from, only that node's keys seal it."""

    def pack(self) -> bytes:
        """Return it as it lies in the list."""
        return orjson.dumps(asdict(self))

    @classmethod
    def parse(cls, raw: bytes) -> "Handed":
        """Read one; raise EnvelopeForged where it is anything else."""
        if len(raw) > LARGEST_BYTES:
            raise EnvelopeForged
        try:
            body = orjson.loads(raw)
            handed = cls(Asked(body.pop("asked")), **body)
            words = (handed.node, handed.turn, handed.envelope)
            sound = all(isinstance(word, str) for word in words) and type(handed.attempt) is int
            if not sound or not 0 <= handed.attempt <= LARGEST_ATTEMPT or not NODE_NAME.fullmatch(handed.node):
                raise EnvelopeForged
            if handed.asked is not Asked.DISPATCH:
                UUID(handed.turn)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EnvelopeForged from error
        return handed
