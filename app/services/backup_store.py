"""Backups in the object store: their names, their manifests, which ones are kept, and what a killed one left over."""

import hashlib
import io
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from app.core import keys, objects
from app.services.backup_tables import Prints
from app.services.restore_notes import Note
from app.wire import chunks
from app.wire.errors import BadInput, EnvelopeError, EnvelopeForged, NotFound

PREFIX: Final = "backups/"
VERSION: Final = 1
NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-z]{1,16}", re.ASCII)
RECENT: Final = timedelta(days=2)
"""So long every backup stays, however many were taken in a day."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds; written last, so that what has one is whole."""

    id: str
    taken_at: str
    revision: str
    """The schema's."""
    app: str
    """The platform's version."""
    size: int
    """Bytes of the sealed dump."""
    sha256: str
    """Of the sealed dump."""
    tables: Prints
    audit: list[Any]
    """Number and hash of the newest record of the audit trail."""
    settings: dict[str, Any] = field(default_factory=dict)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    transcripts: dict[str, str] = field(default_factory=dict)
    """Key and hash of each, as earlier versions wrote them."""
    transcript_list: list[Any] = field(default_factory=list)
    """How many lines `transcripts.sealed` has, and the hash of them: there may be a hundred thousand."""
    version: int = VERSION


def dump_key(backup: str) -> str:
    """Return the key of a backup's sealed dump."""
    return f"{PREFIX}{backup}/dump.sealed"


def dump_name(backup: str) -> str:
    """Return the name to which the dump's chunks are bound."""
    return f"backup/{backup}/dump"


def keep(manifest: Manifest) -> None:
    """Write a manifest: from now on the backup exists."""
    _keep(manifest.id, "manifest", asdict(manifest))


def keep_transcripts(backup: str, found: Iterable[tuple[str, str]]) -> list[Any]:
    """Write key and hash of each transcript beside a dump, in flat memory; return what the manifest says of it."""
    count, digest, packer = 0, hashlib.sha256(), zlib.compressobj()

    def packed() -> Iterator[bytes]:
        nonlocal count
        for pair in found:
            line = orjson.dumps(pair) + b"\n"
            digest.update(line)
            count += 1
            yield packer.compress(line)
        yield packer.flush()

    with tempfile.NamedTemporaryFile(prefix="backup-") as file:
        for sealed in chunks.seal(packed(), keys.archive(), list_name(backup)):
            file.write(sealed)
        file.flush()
        objects.upload(list_key(backup), Path(file.name))
    return [count, digest.hexdigest()]


def transcripts(found: Manifest) -> Iterator[tuple[str, str]]:
    """Yield key and hash of each transcript that a backup names; raise EnvelopeForged where they are not what was sealed."""
    if not found.transcript_list:
        yield from found.transcripts.items()
        return
    digest, count, opener, rest = hashlib.sha256(), 0, zlib.decompressobj(), b""
    with objects.reading(list_key(found.id)) as body:
        for piece in chunks.unseal(body, keys.archive(), list_name(found.id)):
            *lines, rest = (rest + opener.decompress(piece)).split(b"\n")
            for line in lines:
                digest.update(line + b"\n")
                count += 1
                key, sha256 = orjson.loads(line)
                yield key, sha256
    if [count, digest.hexdigest()] != found.transcript_list:
        raise EnvelopeForged


def list_key(backup: str) -> str:
    """Return the key of a backup's sealed list of transcripts."""
    return f"{PREFIX}{backup}/transcripts.sealed"


def list_name(backup: str) -> str:
    """Return the name to which the chunks of that list are bound."""
    return f"backup/{backup}/transcripts"


def manifest(backup: str) -> Manifest:
    """Return a backup's manifest; raise NotFound where there is none, BadInput where it does not open with our keys."""
    try:
        return Manifest(**_kept(backup, "manifest"))
    except EnvelopeError as error:
        raise BadInput(
            f"The manifest of backup {backup} does not open: it was sealed with other keys. "
            "MEATLIZARD_KEYS has to be the ring of the platform that made it; without it nothing here can be read."
        ) from error


def keep_proof(backup: str, proof: dict[str, Any]) -> None:
    """Write what a proof found beside its backup."""
    _keep(backup, "proof", proof)


def proof(backup: str) -> dict[str, Any] | None:
    """Return what the newest proof of a backup found; None where it was never proven."""
    try:
        return _kept(backup, "proof")
    except (NotFound, EnvelopeError):
        return None


def _keep(backup: str, what: str, body: dict[str, Any]) -> None:
    packed = zlib.compress(orjson.dumps(body))
    sealed = b"".join(chunks.seal([packed], keys.archive(), f"backup/{backup}/{what}"))
    objects.put(f"{PREFIX}{backup}/{what}.sealed", sealed)


def _kept(backup: str, what: str) -> dict[str, Any]:
    sealed = io.BytesIO(objects.get(f"{PREFIX}{backup}/{what}.sealed"))
    packed = b"".join(chunks.unseal(sealed, keys.archive(), f"backup/{backup}/{what}"))
    found: dict[str, Any] = orjson.loads(zlib.decompress(packed))
    return found


def there() -> dict[str, set[str]]:
    """Return the folders of the store, whole or not: id → the objects in it."""
    found: dict[str, set[str]] = {}
    for one in objects.listed(PREFIX):
        backup, _, name = one.key.removeprefix(PREFIX).partition("/")
        found.setdefault(backup, set()).add(name)
    return found


def whole() -> list[str]:
    """Return the backups that have a manifest, the newest first."""
    return sorted((backup for backup, names in there().items() if "manifest.sealed" in names and _dated(backup)), reverse=True)


def _dated(backup: str) -> bool:
    # Whoever has the store may put there what they like: it may not stop what reckons with the days of backups, nor
    # write upon the terminal of whoever lists them.
    try:
        return bool(NAME.fullmatch(backup) and taken_at(backup))
    except ValueError:
        return False


def chosen(wanted: str) -> str:
    """Return the backup meant by an id, by its beginning, or by `latest`; raise NotFound with what there is."""
    known = whole()
    if wanted == "latest" and known:
        return known[0]
    match = [one for one in known if one.startswith(wanted)] if wanted != "latest" else []
    if len(match) == 1:
        return match[0]
    named = ", ".join(known[:5]) or "none"
    raise NotFound(f"There is no backup {wanted!r} in the object store. There are: {named}.")


def audit_heads(restores: Sequence[Note] = ()) -> tuple[dict[int, str], list[str]]:
    """Return the newest record's number and hash of each backup: they lie where who changes the trail does not reach.

    Beside them, which backups could not be asked: one that does not open takes away no other's word.
    `restores` are the notes of backups that were brought back: what was backed up between such a backup and its coming
    back is of a trail that was left behind.
    """
    heads: dict[int, str] = {}
    unread = []
    for backup in whole():
        try:
            found = manifest(backup)
        except (BadInput, NotFound):
            unread.append(backup)
            continue
        taken = datetime.fromisoformat(found.taken_at)
        number, noted = found.audit
        if number and not any(note.leaves_behind(taken) for note in restores):
            heads[int(number)] = str(noted)
    return heads, unread


@contextmanager
def dump(backup: str) -> Iterator[Any]:
    """Give the sealed dump to read from."""
    with objects.reading(dump_key(backup)) as body:
        yield body


def remove(backup: str) -> None:
    """Remove a backup, its manifest first: cut off in the middle, it is no backup any more."""
    names = sorted(there().get(backup, ()), key=lambda name: name != "manifest.sealed")
    for name in names:
        objects.remove(f"{PREFIX}{backup}/{name}")


def sweep() -> list[str]:
    """Remove what interrupted backups left; only while none is being taken. Return whose it was."""
    objects.sweep_uploads(PREFIX)
    halves = [backup for backup, names in there().items() if "manifest.sealed" not in names]
    for backup in halves:
        remove(backup)
    return halves


def taken_at(backup: str) -> datetime:
    """Return when a backup was taken: its id says it."""
    return datetime.strptime(backup[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def worth_keeping(backups: list[str], now: datetime, days: int, weeks: int, months: int) -> set[str]:
    """Return which backups stay: the newest of each of the last `days`, `weeks` and `months` that have one.

    Grandfather, father, son. The newest of all stays in any case, and so do those of the last two days: one that is taken
    before a restore must not push out the one that is to be restored.
    """
    stay = set(sorted(backups, reverse=True)[:1]) | {one for one in backups if now - taken_at(one) < RECENT}
    for count, period in ((days, "%Y-%j"), (weeks, "%G-%V"), (months, "%Y-%m")):
        newest: dict[str, str] = {}
        for backup in sorted(backups):
            newest[taken_at(backup).strftime(period)] = backup
        stay.update(newest[key] for key in sorted(newest, reverse=True)[:count])
    return stay
