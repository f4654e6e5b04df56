"""Reading a turn's stream from synchronous code: the reply as people have seen it so far."""

from typing import Any

from app.core import keys, redis
from app.stream.cursor import Cursor, Gap
from app.wire import names
from app.wire.errors import EnvelopeError, EnvelopeForged
from app.wire.events import unseal


def text(turn: str, session: str) -> str:
    """Return the reply as the stream has it; empty where there is none, or none that is whole from byte 0."""
    cursor, parts = Cursor(), bytearray()
    entries: Any = redis.client().xrange(names.turn_stream(turn))
    for _, fields in entries:
        try:
            event = unseal(fields[b"e"], lambda author, of, attempt: keys.events(author, session, of, attempt))
            if event.turn != turn:
                raise EnvelopeForged
            for taken in cursor.take(event):
                if taken.at is not None:
                    del parts[taken.at :]
                    parts += (taken.text or "").encode()
        except (EnvelopeError, Gap, KeyError):
            continue
    return parts.decode(errors="ignore")
