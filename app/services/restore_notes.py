"""Notes of restores: sealed and kept with the backups, so that a record made up in the trail is not taken for a restore."""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import orjson

from app.core import keys, objects
from app.services import chain
from app.wire import chunks
from app.wire.errors import EnvelopeError, NotFound

PREFIX: Final = "restores/"


@dataclass(frozen=True, slots=True)
class Note:
    """That the platform itself brought a backup back; made before the backup takes its place, and never changed."""

    record: str
    """Hash of the trail's record of it, in hexadecimal. It covers the head that the trail went back to."""
    backup: str
    taken_at: str
    """When that backup was taken, ISO 8601: it may have been thinned out since."""
    at: str
    """When it came back, ISO 8601."""

    def leaves_behind(self, moment: datetime) -> bool:
        """Say whether what was backed up at a moment is of a trail that this restore left behind."""
        return datetime.fromisoformat(self.taken_at) < moment <= datetime.fromisoformat(self.at)


def key(record: str) -> str:
    """Return the key of the note of a record, by its hash in hexadecimal."""
    return f"{PREFIX}{record}.sealed"


def name(key: str) -> str:
    """Return the name to which the note under a key is bound: copied to another key it does not open."""
    return f"restore/{key.removeprefix(PREFIX).removesuffix('.sealed')}"


def keep(note: Note) -> None:
    """Write a note, sealed; raise Unavailable where the store is away."""
    at = key(note.record)
    objects.put(at, b"".join(chunks.seal([orjson.dumps(asdict(note))], keys.archive(), name(at))))


def remove(note: Note) -> None:
    """Take a note back: what it tells of did not come to be."""
    objects.remove(key(note.record))


def listed() -> Iterator[str]:
    """Yield the keys of all notes, in their order."""
    return (one.key for one in objects.listed(PREFIX))


def of_the_trail() -> tuple[list[Note], list[int]]:
    """Return the notes of the restores that the trail tells of, and the numbers of those records that have none."""
    notes, without = [], []
    for number, record in chain.acts("backup.restore"):
        try:
            notes.append(_read(key(record)))
        except (NotFound, EnvelopeError):
            without.append(number)
    return notes, without


def _read(at: str) -> Note:
    body = b"".join(chunks.unseal(io.BytesIO(objects.get(at)), keys.archive(), name(at)))
    return Note(**orjson.loads(body))
