"""Real PostgreSQL, Valkey and S3 for one run of the tests, made and started by the embedded stack's own pieces."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from redis import Redis

from app.core import migrate, objects
from app.local import node as local_node
from app.local import postgres, s3, settings, valkey
from app.local.errors import ServerDown
from app.local.home import Home
from app.local.ports import Held
from app.local.program import Program
from tests.support.waiting import until

UNSAFE_BUT_FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
"""The data is thrown away with the run, so nothing has to survive a power cut."""
STOP_SECONDS = 10
COUNTED = """
select d.refobjid::regclass::text from pg_sequence s join pg_depend d on d.objid = s.seqrelid and d.deptype in ('a', 'i')
where d.refclassid = 'pg_class'::regclass and pg_sequence_last_value(s.seqrelid) is not null
"""
"""Tables that have given out numbers, even where no row is left."""


@dataclass
class Server:
    """One server process; it dies with the tests, even when those are killed (app.local.guard)."""

    home: Home
    program: Program
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.home.log(self.program.name)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program.guarded(self.home), *self.arguments],
                cwd=self.program.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the tests: they end their servers in order.
                start_new_session=True,
                umask=0o077,
            )

    def stop(self, number: int | None = None) -> None:
        if self.process is None:
            return
        self.process.send_signal(number or signal.Signals[f"SIG{self.program.stop_signal}"])
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@dataclass
class Servers:
    """The three servers, and the folder with the settings that lead to them."""

    home: Home
    settings: settings.Settings
    postgres: Server
    valkey: Server
    s3: Server
    tables: list[str] = field(default_factory=list)
    """All tables that may hold anything, as SQL names them."""

    @classmethod
    def start(cls, folder: Path) -> "Servers":
        home = Home.at(folder / "home")
        home.make()
        held = Held()
        made = settings.prepare(home, None, held)
        servers = cls(
            home,
            made,
            Server(home, postgres.prepare(home, made), UNSAFE_BUT_FAST),
            Server(home, valkey.prepare(home, made)),
            Server(home, s3.prepare(home, made)),
        )
        held.release()
        try:
            for server in servers.all:
                server.start()
            servers.wait()
            migrate.upgrade(made.database_url)
            servers.tables = servers._tables()
        except BaseException:
            servers.stop()
            raise
        return servers

    @property
    def all(self) -> list[Server]:
        return [self.postgres, self.valkey, self.s3]

    @property
    def redis(self) -> Any:
        """A client with all rights that belongs to the test, not to the platform."""
        return Redis.from_url(self.settings.redis_url)

    def wait(self) -> None:
        """Return when all three answer."""
        until(lambda: _answers(lambda: postgres.set_up(self.home, self.settings)), said=self.postgres.log.read_text)
        self.wait_for_valkey()
        until(lambda: _answers(lambda: s3.answers(self.settings)), said=self.s3.log.read_text)

    def wait_for_valkey(self) -> None:
        until(lambda: _answers(lambda: valkey.ping(self.settings)), said=self.valkey.log.read_text)

    def empty(self) -> None:
        """Make the servers as they were after the first migration."""
        with closing(psycopg2.connect(self.settings.dsn)) as connection, connection, connection.cursor() as cursor:
            # What a failed test left open would hold the tables for ever.
            cursor.execute("set lock_timeout = '5s'")
            # Every one of them, so that nothing that still runs writes into any while it is looked at.
            cursor.execute(f"lock table {', '.join(self.tables)} in access exclusive mode")
            cursor.execute(" union all ".join(f"select '{name}' where exists (select from {name})" for name in self.tables))
            used = {name for (name,) in cursor.fetchall()}
            cursor.execute(COUNTED)
            used |= {name for (name,) in cursor.fetchall()}
            if used:
                cursor.execute(f"truncate {', '.join(sorted(used))} restart identity cascade")
        with self.redis as client:
            client.flushall()
        bucket = self.home.data / s3.NAME / self.settings.values["S3_BUCKET"]
        if any(path.is_file() for path in bucket.rglob("*")):
            # Through the store: it remembers what lies in its folders.
            for one in list(objects.listed("")):
                objects.remove(one.key)

    def add_node(self, name: str, **more: str) -> str:
        """Write a node's settings file, let Valkey know its user, and return the node's own Redis address."""
        local_node.write(self.home, self.settings, name, None, "auto")
        path = local_node.file(self.home, name)
        local_node.envfile.update(path, more, "")
        valkey.write_users(self.home, self.settings)
        valkey.load_users(self.settings)
        return local_node.envfile.read(path)["REDIS_URL"]

    def stop(self) -> None:
        for server in reversed(self.all):
            with contextlib.suppress(ProcessLookupError):
                server.stop()

    def _tables(self) -> list[str]:
        query = "select quote_ident(tablename) from pg_tables where schemaname = 'public'"
        with closing(psycopg2.connect(self.settings.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(query + " and tablename <> 'alembic_version'")
            return [name for (name,) in cursor.fetchall()]


def _answers(check: Any) -> bool:
    try:
        check()
    except ServerDown:
        return False
    return True


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Run the servers for a block, with the environment that leads to them and to nothing else."""
    servers = Servers.start(folder)
    before = dict(os.environ)
    os.environ["MEATLIZARD_HOME"] = str(servers.home.path)
    try:
        yield servers
    finally:
        os.environ.clear()
        os.environ.update(before)
        servers.stop()
