"""Proving a backup: it is restored into a PostgreSQL of its own, and all that it promises is looked at there."""

import hashlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import structlog
from sqlalchemy import create_engine
from sqlalchemy.orm import Session as Transaction

from app.core import keys, pgtools
from app.core.models import now
from app.services import audit, backup_store, backup_tables, backups
from app.services.backup_store import Manifest
from app.services.backups import Progress
from app.wire import chunks
from app.wire.errors import EnvelopeForged, MeatLizardError

log = structlog.get_logger(__name__)

Scratch = Callable[[], AbstractContextManager[str]]
"""Gives the address of an empty database on a server of its own, which is gone afterwards."""


def prove(backup: str, scratch: Scratch, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Restore a backup aside and hold it against its manifest; return what was found, which is kept with it.

    `sound` says whether it is good, `problems` what is not, in plain lines.
    """
    manifest = backup_store.manifest(backup)
    note = backups.noted(backup, progress)
    problems: list[str] = []
    records = 0
    try:
        with scratch() as url:
            note("restore", 0.0)
            fill(url, manifest, lambda share: note("restore", share))
            problems += compare(url, manifest, lambda share: note("compare", share))
            note("migrate", 0.0)
            records = check_schema(url, manifest, problems)
            sum(1 for _ in backup_store.transcripts(manifest))
    except EnvelopeForged:
        problems.append("The list of transcripts in the object store is not what was sealed.")
    except MeatLizardError as error:
        problems.append(str(error))
    found = {
        "at": now().isoformat(), "sound": not problems, "problems": problems[:20], "tables": len(manifest.tables),
        "rows": sum(rows for rows, _ in manifest.tables.values()), "audit_records": records,
    }  # fmt: skip
    backup_store.keep_proof(backup, found)
    state = {"state": "proven", "proven_at": now(), "error": None} if not problems else {"state": "failed", "error": problems[0][:300]}
    backups.change(backup, phase="", share=1.0, facts={"tables": manifest.tables, "proof": found}, **state)
    log.info("backup.proven", backup=backup, sound=found["sound"], problems=len(problems))
    return found


def fill(url: str, manifest: Manifest, progress: Callable[[float], None] = lambda _: None) -> None:
    """Restore a backup into an empty database; raise MeatLizardError where the dump is not what was sealed."""
    command = [str(pgtools.tool("pg_restore")), "--format=custom", "--exit-on-error", "--single-transaction"]
    command += ["--no-owner", "--no-privileges", "--dbname", ""]
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as said, backup_store.dump(manifest.id) as body:
        with subprocess.Popen(command, env=pgtools.environment(url), stdin=subprocess.PIPE, stderr=said, stdout=said) as running:
            assert running.stdin is not None
            try:
                source = _Watched(body, digest)
                for piece in chunks.unseal(source, keys.archive(), backup_store.dump_name(manifest.id)):
                    running.stdin.write(piece)
                    size = source.size
                    progress(min(1.0, size / max(manifest.size, 1)))
                running.stdin.close()
            except BrokenPipeError:
                pass  # It ended before the dump did, and says why.
            except BaseException as error:
                running.kill()
                if isinstance(error, EnvelopeForged):
                    raise MeatLizardError("The dump in the object store is not what was sealed: it is cut short or changed.") from error
                raise
        if running.returncode:
            said.seek(0)
            raise MeatLizardError(f"pg_restore failed: {_last_line(said.read())}")
    if (size, digest.hexdigest()) != (manifest.size, manifest.sha256):
        raise MeatLizardError("The dump in the object store is not the one that the manifest names.")


class _Watched:
    """What is read from the store, measured and hashed on the way."""

    def __init__(self, source: Any, digest: Any) -> None:
        self._source, self._digest, self.size = source, digest, 0

    def read(self, size: int, /) -> bytes:
        piece: bytes = self._source.read(size)
        self._digest.update(piece)
        self.size += len(piece)
        return piece


def compare(url: str, manifest: Manifest, progress: Callable[[float], None] = lambda _: None) -> list[str]:
    """Count and hash every table; return what differs from the manifest."""
    with pgtools.connected(url) as connection:
        found = backup_tables.prints(connection, progress)
    return backup_tables.differences(manifest.tables, found)


def check_schema(url: str, manifest: Manifest, problems: list[str]) -> int:
    """Bring the copy to the newest schema and walk its audit trail; return how many records are sound."""
    # Loaded here: Alembic and what it brings, 6 MB, once a day.
    from app.core import migrate

    if (stands := migrate.current(url)) != manifest.revision:
        problems.append(f"the schema is {stands}, not {manifest.revision}")
    migrate.upgrade(url)
    with inside(url) as tx:
        records, bad = audit.verify(tx)
    if bad is not None:
        problems.append(f"record {bad} of the audit trail is not sound")
    elif records != manifest.audit[0]:
        problems.append(f"the audit trail has {records} records instead of {manifest.audit[0]}")
    return records


@contextmanager
def inside(url: str) -> Iterator[Transaction]:
    """Open a database that is not, or not yet, the platform's own."""
    engine = create_engine(url)
    try:
        with Transaction(engine) as tx:
            yield tx
    finally:
        engine.dispose()


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
