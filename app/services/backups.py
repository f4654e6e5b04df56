"""Taking backups: one consistent state of the database, sealed on its way into the object store, its manifest last."""

import hashlib
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import structlog
from pydantic import SecretStr
from sqlalchemy import select

from app.core import keys, objects, pgtools
from app.core.broker import enqueue as send
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Backup, now
from app.services import audit, backup_store, backup_tables
from app.services.backup_store import Manifest
from app.wire import chunks, names
from app.wire.errors import Busy, MeatLizardError, Unavailable
from app.wire.states import Door

log = structlog.get_logger(__name__)

LOCK: Final = 4_711_022
"""Advisory lock: one backup, proof of the store's order, or restore at a time."""
SECRET: Final = frozenset({"s3_access_key"})
"""Settings that are secret without being typed so."""
SOON: Final = timedelta(minutes=10)
"""A scheduled backup is left out where another was taken so short a time ago."""

PHASES: Final = {
    "dump": "Dumping and sealing",
    "counts": "Counting and hashing",
    "restore": "Restoring aside",
    "compare": "Comparing every table",
    "migrate": "Migrating, walking the audit trail",
    "swap": "Putting it in place",
}
"""What is done in each phase, in people's words."""
Progress = Callable[[str, float], None]
"""Called with the phase and how much of it is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A backup as lists show it; size in bytes."""

    id: str
    state: str
    phase: str
    share: float
    size: int | None
    revision: str | None
    rows: int | None
    error: str | None
    actor: str
    asked_at: datetime
    taken_at: datetime | None
    proven_at: datetime | None


def begin(actor: str, door: Door) -> str:
    """Ask for a backup and return its id; a worker takes it, and `listed` says how it goes."""
    backup = ask(actor, door)
    hurry(backup)
    return backup


def hurry(backup: str) -> None:
    """Send for a backup that was asked for; where the broker is away the sweeper does it later."""
    try:
        send(names.TAKE_BACKUP, backup)
    except Unavailable as error:
        log.warning("backup.later", backup=backup, error=str(error))


def ask(actor: str, door: Door) -> str:
    """Write down that a backup is wanted, and return its id."""
    backup = f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    with transaction() as tx:
        tx.add(Backup(id=backup, actor=actor[:64], door=door.value))
        audit.record(tx, actor, door, "backup.begin", backup)
    return backup


def due() -> bool:
    """Say whether a scheduled backup makes sense: none was asked for in the last minutes."""
    with transaction() as tx:
        return tx.scalar(select(Backup.id).where(Backup.asked_at > now() - SOON).limit(1)) is None


def listed(most: int = 100) -> list[Shown]:
    """Return the backups that were asked for, the newest first, as the database knows them."""
    with transaction() as tx:
        return [_shown(row) for row in tx.scalars(select(Backup).order_by(Backup.id.desc()).limit(most))]


def _shown(row: Backup) -> Shown:
    tables = row.facts.get("tables", {})
    return Shown(
        row.id, row.state, row.phase, row.share, row.size, row.revision,
        sum(rows for rows, _ in tables.values()) if tables else None,
        row.error, row.actor, row.asked_at, row.taken_at, row.proven_at,
    )  # fmt: skip


@contextmanager
def alone() -> Iterator[None]:
    """Hold the one lock of backups, on a connection that lives as long; raise Busy where somebody else does."""
    with pgtools.connected(settings().database_url.get_secret_value()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor, pgtools.locked(cursor, LOCK) as free:
            if not free:
                raise Busy("Another backup or restore is under way. Wait for its end; `meatlizard backup list` shows it.")
            yield


def take(backup: str, progress: Progress = lambda *_: None) -> Manifest | None:
    """Take a backup that was asked for; None where that has happened already. Safe to run twice, and to be killed.

    Raises Busy while another one is under way, Unavailable where a server is away: then it waits to be tried again.
    """
    with alone():
        with transaction() as tx:
            row = tx.get(Backup, backup, with_for_update=True)
            # Still `running` though nobody holds the lock: whoever took it was killed.
            if row is None or row.state not in ("waiting", "running"):
                return None
            row.state, row.error = "running", None
        try:
            backup_store.sweep()
            manifest = _take(backup, noted(backup, progress))
        except MeatLizardError as error:
            again = isinstance(error, Unavailable)
            change(backup, state="waiting" if again else "failed", error=str(error)[:300])
            raise
        change(
            backup, state="taken", taken_at=now(), size=manifest.size, revision=manifest.revision, phase="", share=1.0,
            facts={"tables": manifest.tables},
        )  # fmt: skip
        log.info("backup.taken", backup=backup, bytes=manifest.size)
        thin_out()
        return manifest


def change(backup: str, **values: Any) -> None:
    """Write down what has become of a backup."""
    with transaction() as tx:
        if row := tx.get(Backup, backup):
            for name, value in values.items():
                setattr(row, name, value)


def noted(backup: str, progress: Progress) -> Progress:
    """Return a progress that the row shows too, a hundredth at a time."""
    last: list[tuple[str, int]] = [("", -1)]

    def note(phase: str, share: float) -> None:
        progress(phase, share)
        here = (phase, int(share * 100))
        if here != last[0]:
            last[0] = here
            change(backup, phase=phase, share=round(share, 2))

    return note


def _take(backup: str, progress: Progress) -> Manifest:
    with pgtools.connected(settings().database_url.get_secret_value()) as connection:
        # One state for the dump, the counts and all else that stands in the manifest, whatever is written meanwhile.
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("select pg_export_snapshot(), pg_database_size(current_database())")
            snapshot, size = cursor.fetchone()
        sealed = _Measured(chunks.seal(_dumped(snapshot), keys.archive(), backup_store.dump_name(backup)))
        # The database's size is more than what comes out, so the bar ends with a jump rather than over its end.
        objects.upload_stream(
            backup_store.dump_key(backup), sealed, lambda _: progress("dump", min(1.0, sealed.size / max(size, 1)))
        )
        progress("dump", 1.0)
        tables = backup_tables.prints(connection, lambda share: progress("counts", share))
        facts = _facts(connection) | {"transcript_list": backup_store.keep_transcripts(backup, _transcripts(connection))}
    if objects.size(backup_store.dump_key(backup)) != sealed.size:
        raise Unavailable("The object store did not keep the dump as it was sent; it is sent again.")
    manifest = Manifest(
        id=backup, taken_at=now().isoformat(), app=version("meatlizard"), size=sealed.size,
        sha256=sealed.digest.hexdigest(), tables=tables, settings=plain_settings(), **facts,
    )  # fmt: skip
    backup_store.keep(manifest)
    return manifest


class _Measured:
    """A stream of pieces to read from, measured and hashed on the way."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, bytearray()
        self.size, self.digest = 0, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        # A view: a part is megabytes, and each slice of a bytearray is one more copy of it.
        with memoryview(self._rest) as waiting:
            taken = bytes(waiting if size < 0 else waiting[:size])
        del self._rest[: len(taken)]
        self.size += len(taken)
        self.digest.update(taken)
        return taken


def _dumped(snapshot: str) -> Iterator[bytes]:
    """Yield a dump in PostgreSQL's custom form, compressed, of the state that the snapshot names."""
    command = [str(pgtools.tool("pg_dump")), "--format=custom", "--compress=gzip:3", "--no-owner", "--no-privileges"]
    command += [f"--snapshot={snapshot}", *(f"--exclude-table-data={table}" for table in backup_tables.LEFT_OUT)]
    environment = pgtools.environment(settings().database_url.get_secret_value())
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said) as running:
            assert running.stdout is not None
            try:
                while piece := running.stdout.read(chunks.CHUNK_BYTES):
                    yield piece
            except BaseException:
                running.kill()
                raise
        if running.returncode:
            said.seek(0)
            raise MeatLizardError(f"pg_dump failed: {_last_line(said.read())}")


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _facts(connection: Any) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("select version_num from alembic_version")
        revision = cursor.fetchone()[0]
        cursor.execute("select id, encode(hash, 'hex') from audit_log order by id desc limit 1")
        head = cursor.fetchone() or (0, "")
        cursor.execute("select name, slots, lane from nodes order by name")
        nodes = [{"name": name, "slots": slots, "lane": lane} for name, slots, lane in cursor.fetchall()]
    return {"revision": revision, "audit": list(head), "nodes": nodes}


def _transcripts(connection: Any) -> Iterator[tuple[str, str]]:
    with connection.cursor(name="transcripts") as cursor:  # A name: the rows stay on the server.
        cursor.execute("select key, sha256 from transcripts where key is not null")
        yield from cursor


def plain_settings() -> dict[str, Any]:
    """Return the settings as they are, without secrets."""
    found = settings()
    values = {name: getattr(found, name) for name in type(found).model_fields}
    return {name: value for name, value in values.items() if not isinstance(value, SecretStr) and name not in SECRET}


def thin_out() -> list[str]:
    """Remove the backups that are too old, by the rule of days, weeks and months; return which."""
    found = settings()
    known = backup_store.whole()
    stay = backup_store.worth_keeping(
        known, now(), found.backup_keep_days, found.backup_keep_weeks, found.backup_keep_months
    )
    gone = [backup for backup in known if backup not in stay]
    for backup in gone:
        backup_store.remove(backup)
    with transaction() as tx:
        for row in tx.scalars(select(Backup).where(Backup.id.in_(gone))):
            tx.delete(row)
    return gone


def tidy() -> list[str]:
    """Put rows and store in order while no backup is under way; return the backups to send for again."""
    try:
        with alone():
            backup_store.sweep()
            with transaction() as tx:
                for row in tx.scalars(select(Backup).where(Backup.state == "running")):
                    row.state, row.error = "waiting", "It was cut off, and is taken once more."
            adopt()
    except Busy:
        return []
    with transaction() as tx:
        return list(tx.scalars(select(Backup.id).where(Backup.state == "waiting").order_by(Backup.id)))


def adopt() -> None:
    """Let the database know every backup of the store, and forget those that are not there any more."""
    known = set(backup_store.whole())
    with transaction() as tx:
        rows = {row.id: row for row in tx.scalars(select(Backup))}
        for backup, row in rows.items():
            if row.state in ("taken", "proven") and backup not in known:
                tx.delete(row)
    for backup in known:
        row_ = rows.get(backup)
        if row_ is not None and row_.state in ("taken", "proven"):
            continue
        try:
            manifest, proof = backup_store.manifest(backup), backup_store.proof(backup)
        except MeatLizardError as error:
            log.warning("backup.unknown", backup=backup, error=str(error))
            continue
        with transaction() as tx:
            merged = tx.merge(
                Backup(
                    id=backup, state="proven" if proof and proof["sound"] else "taken", actor="", door=Door.BEAT.value,
                    size=manifest.size, revision=manifest.revision, facts={"tables": manifest.tables, "proof": proof},
                    asked_at=backup_store.taken_at(backup), taken_at=datetime.fromisoformat(manifest.taken_at),
                    proven_at=datetime.fromisoformat(proof["at"]) if proof and proof["sound"] else None, share=1.0, phase="",
                )
            )
            assert merged
