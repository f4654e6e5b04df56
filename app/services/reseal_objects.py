"""Sealing anew, with the newest master key, what the object store keeps: transcripts and backups, one after the other."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.core import keys, objects
from app.services import backup_store, restore_notes, transcripts
from app.wire import chunks
from app.wire.envelope import Ring
from app.wire.errors import EnvelopeForged, NotFound

BACKUP: Final = backup_store.PREFIX


def names(after: str = "") -> Iterator[str]:
    """Yield what there is to look at behind `after`, in order: backups' folders, keys of restores' notes, of transcripts.

    Nothing without a store.
    """
    if not objects.configured():
        return
    if after < restore_notes.PREFIX:
        yield from (one for one in sorted(BACKUP + backup for backup in backup_store.whole()) if one > after)
    if after < transcripts.PREFIX:
        yield from (one for one in restore_notes.listed() if one > after)
    for one in objects.listed(transcripts.PREFIX, after if after > transcripts.PREFIX else ""):
        yield one.key


class Walk:
    """Goes from one name to the next; the store is asked for its list a thousand at a time, not once for each of them."""

    def __init__(self) -> None:
        self._coming: Iterator[str] = iter(())
        self._last: str | None = None

    def after(self, name: str) -> str | None:
        """Return what comes after `name`, "" for the first; None where nothing does."""
        if self._last is None or name < self._last:  # The latter where another process has begun anew meanwhile.
            self._coming = names(name)
        self._last = next((one for one in self._coming if one > name), None)
        return self._last


def reseal(name: str) -> bool:
    """Seal one of them anew; say whether that was needed. Cut off and done again, it comes to the same."""
    try:
        if name.startswith(BACKUP):
            return _backup(name.removeprefix(BACKUP))
        if name.startswith(restore_notes.PREFIX):
            return _note(name)
        return _object(name, f"transcript/{name.split('/')[1]}")
    except NotFound:
        return False  # Removed meanwhile: too old, or deleted by its owner.


def _backup(backup: str) -> bool:
    key, name = backup_store.dump_key(backup), backup_store.dump_name(backup)
    changed = _object(key, name)
    # The manifest names the sealed dump's hash: where this was cut off between the two, it is put right here.
    size, sha256 = _measured(key)
    manifest = backup_store.manifest(backup)
    if manifest.transcript_list:
        changed |= _object(backup_store.list_key(backup), backup_store.list_name(backup))
    proof = backup_store.proof(backup)
    old = not _opens(f"{BACKUP}{backup}/manifest.sealed", f"backup/{backup}/manifest")
    if old or (manifest.size, manifest.sha256) != (size, sha256):
        backup_store.keep(replace(manifest, size=size, sha256=sha256))
        changed = True
    if proof is not None and not _opens(f"{BACKUP}{backup}/proof.sealed", f"backup/{backup}/proof"):
        backup_store.keep_proof(backup, proof)
        changed = True
    return changed


def _note(key: str) -> bool:
    try:
        return _object(key, restore_notes.name(key))
    except EnvelopeForged:
        return False  # None of ours, put there by whoever has the store: it may not hold up the change of keys.


def _object(key: str, name: str) -> bool:
    if _opens(key, name):
        return False
    with _file() as path:
        with objects.reading(key) as body, path.open("wb") as out:
            for piece in chunks.seal(chunks.unseal(body, keys.archive(), name), keys.archive(), name):
                out.write(piece)
        objects.upload(key, path)
    return True


def _opens(key: str, name: str) -> bool:
    """Say whether the newest key opens an object; its first chunk tells."""
    newest = Ring(keys.archive().keys[:1])
    try:
        with objects.reading(key) as body:
            next(chunks.unseal(body, newest, name))
    except EnvelopeForged:
        return False
    return True


def _measured(key: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with objects.reading(key) as body:
        while piece := body.read(chunks.CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


@contextmanager
def _file() -> Iterator[Path]:
    number, path = tempfile.mkstemp(prefix="reseal-")
    os.close(number)
    try:
        yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)
