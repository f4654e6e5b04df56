"""Transcripts: a session's whole tree as sealed JSON Lines in the object store, once for each state it was in."""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

import orjson
import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as Transaction

from app.core import keys, objects
from app.core.broker import enqueue as send
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Session, Transcript, now
from app.services import transcript_lines
from app.services.sessions import parse_id
from app.wire import chunks, names
from app.wire.errors import MeatLizardError, NotFound, Unavailable
from app.wire.states import Door

log = structlog.get_logger(__name__)

PREFIX: Final = "transcripts/"
LOST_AFTER: Final = timedelta(hours=1)
"""Longer than the longest pause between two tries: who still waits then has been forgotten by the broker."""
AT_ONCE: Final = 200
"""Most sessions that one sweep asks for; the next one comes in minutes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a session's transcript stands."""

    session: str
    state: str
    why: str
    messages: int | None
    size: int | None
    tries: int
    error: str | None
    stored_at: datetime | None


def ask(tx: Transaction, session: UUID, why: str) -> None:
    """Note, in the transaction of the act itself, that a session's transcript is wanted; `enqueue` sends for it after."""
    values = {"state": "waiting", "why": why, "tries": 0, "error": None, "asked_at": now()}
    tx.execute(
        insert(Transcript).values(session_id=session, **values).on_conflict_do_update(
            index_elements=[Transcript.session_id], set_=values
        )
    )


def enqueue(session: str, why: str) -> None:
    """Have a session's transcript kept soon; it will be, however often broker and object store are away."""
    with transaction() as tx:
        ask(tx, parse_id(session), why)
    hurry(session)


def hurry(session: str) -> None:
    """Send for a transcript that is asked for; where the broker is away the sweeper does it later."""
    try:
        send(names.UPLOAD_TRANSCRIPT, session)
    except Unavailable as error:
        log.warning("transcript.later", session=session, error=str(error))


def upload(session: str) -> bool:
    """Bring a session's transcript to the object store; say whether there was anything to do. Safe to run twice.

    Raises Unavailable where the store is away: it is tried again, and the row says since when and why.
    """
    identity = parse_id(session)
    with transaction() as tx:
        row = tx.get(Transcript, identity)
        if row is None or row.state != "waiting":
            return False
        asked, before = row.asked_at, row.key
    try:
        with _packed(session) as packed:
            if objects.size(packed.key) != packed.size:
                objects.upload(packed.key, packed.path)
            _stored(identity, asked, packed)
        if before not in (None, packed.key):
            objects.remove(str(before))
    except NotFound:
        forget(session)
    except Unavailable as error:
        with transaction() as tx:
            if row := tx.get(Transcript, identity):
                row.tries, row.error = row.tries + 1, str(error)[:300]
        raise
    return True


@dataclass(frozen=True, slots=True)
class _Packed:
    path: Path
    key: str
    sha256: str
    size: int
    messages: int
    covers: datetime


@contextmanager
def _packed(session: str) -> Iterator[_Packed]:
    """Give a session's lines packed and sealed in a file that is gone afterwards; raise NotFound where it has none."""
    with _temporary() as path:
        with path.open("wb") as file, transcript_lines.reading(session) as (lines, covers):
            digest, count = hashlib.sha256(), _Count()
            for sealed in chunks.seal(_zipped(_hashed(lines, digest, count)), keys.archive(), _name(session)):
                file.write(sealed)
        sha256 = digest.hexdigest()
        key = f"{PREFIX}{session}/{sha256}.jsonl.gz.sealed"
        yield _Packed(path, key, sha256, path.stat().st_size, count.messages, covers)


class _Count:
    messages = 0


def _hashed(lines: Iterable[dict[str, Any]], digest: Any, count: _Count) -> Iterator[bytes]:
    for line in lines:
        count.messages += line["kind"] == "message"
        raw = orjson.dumps(line) + b"\n"
        digest.update(raw)
        yield raw


class _Sink:
    """What gzip writes into and we take out of again."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def take(self) -> bytes:
        taken, self.waiting = bytes(self.waiting), bytearray()
        return taken


def _zipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    sink = _Sink()
    # Without a time in its head: the same lines are the same bytes.
    with gzip.GzipFile(fileobj=cast("BinaryIO", sink), mode="wb", mtime=0) as packer:
        for piece in pieces:
            packer.write(piece)
            if len(sink.waiting) > chunks.CHUNK_BYTES:
                yield sink.take()
    yield sink.take()


def _name(session: str) -> str:
    return f"transcript/{session}"


def _stored(session: UUID, asked: datetime, packed: _Packed) -> None:
    with transaction() as tx:
        row = tx.get(Transcript, session, with_for_update=True)
        if row is None:
            return
        row.key, row.sha256, row.size, row.messages = packed.key, packed.sha256, packed.size, packed.messages
        row.covers, row.stored_at, row.error = packed.covers, now(), None
        # Asked for once more meanwhile: something has been said that may not be in it.
        row.state = "stored" if row.asked_at == asked else "waiting"
    log.info("transcript.stored", session=str(session), messages=packed.messages, bytes=packed.size)


def read(session: str) -> Iterator[dict[str, Any]]:
    """Yield a session's transcript, line by line: from the object store where it is up to date, else from the database.

    The first line is of kind `session`, then come `message` and `turn`, and `end` tells that it is whole. Raises NotFound
    where there is no such session and no transcript of it.
    """
    identity = parse_id(session)
    with transaction() as tx:
        row = tx.get(Transcript, identity)
        changed = transcript_lines.changed(tx, identity)
    if row is not None and row.key and (changed is None or (row.covers and row.covers >= changed)):
        try:
            with _fetched(session, row.key) as path:
                yield from _opened(session, path)
            return
        except MeatLizardError as error:
            if changed is None:
                raise
            log.warning("transcript.unreadable", session=session, error=str(error))
    # Through a file as well, sealed: the database must not wait for whoever reads.
    with _packed(session) as packed:
        yield from _opened(session, packed.path)


@contextmanager
def _fetched(session: str, key: str) -> Iterator[Path]:
    """Give an object in a file, after it was found whole: half a transcript, and then an error, would be worse than none."""
    with _temporary() as path:
        with path.open("wb") as file, objects.reading(key) as body:
            shutil.copyfileobj(body, file)
        with path.open("rb") as file:
            for _ in chunks.unseal(file, keys.archive(), _name(session)):
                pass
        yield path


def _opened(session: str, path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in _unzipped(chunks.unseal(file, keys.archive(), _name(session))):
            yield orjson.loads(line)


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    opener, rest = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), b""
    for piece in pieces:
        while piece:
            *lines, rest = (rest + opener.decompress(piece, chunks.CHUNK_BYTES)).split(b"\n")
            yield from lines
            piece = opener.unconsumed_tail


@contextmanager
def _temporary() -> Iterator[Path]:
    number, name = tempfile.mkstemp(prefix="transcript-")
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def about(session: str) -> Kept | None:
    """Return where a session's transcript stands; None where none was asked for."""
    with transaction() as tx:
        row = tx.get(Transcript, parse_id(session))
        return _kept(row) if row else None


def waiting() -> list[Kept]:
    """Return the transcripts that wait for the object store, the longest waiting first."""
    with transaction() as tx:
        query = select(Transcript).where(Transcript.state == "waiting").order_by(Transcript.asked_at).limit(AT_ONCE)
        return [_kept(row) for row in tx.scalars(query)]


def _kept(row: Transcript) -> Kept:
    return Kept(str(row.session_id), row.state, row.why, row.messages, row.size, row.tries, row.error, row.stored_at)


def sweep() -> list[str]:
    """Ask for the transcripts of idle sessions and send again for forgotten ones; return the sessions to hurry."""
    with transaction() as tx:
        if days := settings().session_idle_days:
            for session in tx.scalars(_idle(now() - timedelta(days=days))).all():
                ask(tx, session, "idle")
        old = now() - LOST_AFTER
        fresh = select(Transcript.session_id).where(
            Transcript.state == "waiting", or_(Transcript.tries == 0, Transcript.asked_at < old)
        )
        return [str(one) for one in tx.scalars(fresh.order_by(Transcript.asked_at).limit(AT_ONCE))]


def _idle(before: datetime) -> Any:
    current = Transcript.session_id.is_not(None) & ((Transcript.state == "waiting") | (Transcript.covers >= Session.updated_at))
    said = select(Message.id).where(Message.session_id == Session.id).exists()
    return (
        select(Session.id)
        .outerjoin(Transcript, Transcript.session_id == Session.id)
        .where(Session.updated_at < before, Session.door != Door.API.value, func.coalesce(current, False).is_(False), said)
        .order_by(Session.updated_at)
        .limit(AT_ONCE)
    )


def tidy() -> int:
    """Remove the transcripts of sessions that are gone, and those that are too old; return how many."""
    with transaction() as tx:
        gone = select(Transcript.session_id).outerjoin(Session, Session.id == Transcript.session_id)
        found = list(tx.scalars(gone.where(Session.id.is_(None)).limit(AT_ONCE)))
        old: list[UUID] = []
        if days := settings().transcript_days:
            query = select(Transcript.session_id).where(
                Transcript.state == "stored", Transcript.stored_at < now() - timedelta(days=days)
            )
            old = list(tx.scalars(query.limit(AT_ONCE)))
    for session in found:
        forget(str(session))
    for session in old:
        _expire(session)
    return len(found) + len(old)


def forget(session: str) -> None:
    """Remove whatever the object store has of a session, and its row."""
    for one in list(objects.listed(f"{PREFIX}{session}/")):
        objects.remove(one.key)
    with transaction() as tx:
        if row := tx.get(Transcript, parse_id(session)):
            tx.delete(row)


def _expire(session: UUID) -> None:
    for one in list(objects.listed(f"{PREFIX}{session}/")):
        objects.remove(one.key)
    with transaction() as tx:
        if row := tx.get(Transcript, session):
            row.state, row.key = "expired", None


def manifest(tx: Transaction) -> dict[str, str]:
    """Return the object of each stored transcript, with the hash of its lines, for a backup to name."""
    query = select(Transcript.key, Transcript.sha256).where(Transcript.key.is_not(None))
    return {str(key): str(sha256) for key, sha256 in tx.execute(query.execution_options(yield_per=1000))}
