"""The platform that is to be broken: one home started with the command that people use, every wire through a proxy."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
from redis import Redis, RedisError

from app.local import envfile, leftovers, settings
from app.local import node as local_node
from app.local.home import Home
from tests.faults import engines
from tests.faults.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until_async

CLOCK: Final = Path(__file__).parent / "clock"
SERVERS: Final = ("postgres", "redis", "s3")
BEGINNERS: Final = (*SERVERS, "sandbox")
"""What begins before ours, and need not be started anew when the wires change."""
URLS: Final = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "s3": "S3_ENDPOINT"}
READY_SECONDS: Final = 150
"""The longest pause before an engine that was killed often is started again is a minute."""
PACED: Final = {"SLOTS": "4", "HANG_SECONDS": "4", "PROMPT_HANG_SECONDS": "6"}
"""Settings of the nodes: a hang of seconds is a hang, where nothing is large."""


@dataclass
class Stage:
    """The home, its processes by name, and the wires between them."""

    home: Home
    stack: Stack
    nodes: list[str]
    proxies: dict[str, Proxy] = field(default_factory=dict)
    direct: settings.Settings = field(init=False)
    """The servers' own addresses, past the proxies."""
    token: str = ""

    @classmethod
    def at(cls, folder: Path, nodes: int) -> "Stage":
        home = Home.at(folder / "home")
        more = {"waiting_limit": "500", "log_level": "INFO"}
        stack = Stack.of(home.path, **more)
        stack.environment |= {"PYTHONPATH": str(CLOCK), "FAULTS_CLOCK": str(folder / "clock")}
        return cls(home, stack, local_node.names(nodes))

    @property
    def folder(self) -> Path:
        return self.home.path.parent

    @property
    def journals(self) -> Path:
        return self.folder / "engines"

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def url(self) -> str:
        return self.direct.url

    @property
    def redis(self) -> Any:
        """A client past the proxies that belongs to nobody who is broken."""
        return Redis.from_url(self.direct.redis_url, socket_timeout=10)

    async def start(self, dice: random.Random) -> None:
        """Start everything, put the proxies between, and wait until prompts are answered."""
        self.home.make()
        for folder in (self.journals, self.clock):
            folder.mkdir(exist_ok=True)
        for name in self.nodes:
            kind = "real" if name == self.nodes[0] else "paced"
            values = PACED | {"LLAMA_SERVER": str(engines.program(self.journals, name, kind))}
            # The real model makes text more slowly while all else runs on the same cores.
            values |= {"SLOTS": "1", "CTX_SIZE": "1024", "HANG_SECONDS": "15", "PROMPT_HANG_SECONDS": "30"} if kind == "real" else {}
            envfile.update(local_node.file(self.home, name), values, "")
        await asyncio.to_thread(self.stack.up, "--nodes", str(len(self.nodes)))
        self.direct = settings.load(self.home)
        self.token = await asyncio.to_thread(self.stack.token)
        await self._put_proxies_between(dice)

    async def _put_proxies_between(self, dice: random.Random) -> None:
        ports = {"postgres": self.direct.postgres_port, "redis": self.direct.redis_port, "s3": self.direct.s3_port}
        fresh = {}
        for name, port in ports.items():
            proxy = self.proxies[name] = Proxy(name, port, dice)
            value = self.direct.values[URLS[name]]
            fresh[URLS[name]] = _with_port(value, await proxy.start())
        envfile.update(self.home.settings, fresh, "")
        # The last one has Discord alone.
        envfile.update(local_node.file(self.home, self.nodes[-1]), {"REDIS_URL": ""}, "")
        for name in self.nodes[:-1]:
            proxy = self.proxies[local_node.process_name(name)] = Proxy(name, self.direct.redis_port, dice)
            file = local_node.file(self.home, name)
            address = _with_port(envfile.read(file)["REDIS_URL"], await proxy.start())
            envfile.update(file, {"REDIS_URL": address}, "")
        before = self.pids()
        for name, pid in before.items():
            if name not in BEGINNERS and not name.startswith("llama.cpp"):
                os.kill(pid, signal.SIGTERM)
        await until_async(lambda: asyncio.to_thread(self._ready, before), READY_SECONDS)

    def _ready(self, before: dict[str, int]) -> bool:
        now = self.pids()
        if any(now.get(name) in (None, pid) for name, pid in before.items() if name not in BEGINNERS):
            return False
        with self.redis as client:
            return all(client.hget(f"ml:node:{name}", "state") == b"ready" for name in self.nodes)

    async def stop(self) -> None:
        """End all of it."""
        for pid in self.pids().values():
            _signal(pid, signal.SIGCONT)
        await asyncio.to_thread(self.stack.run, "down", check=False)
        for proxy in self.proxies.values():
            await proxy.stop()

    # The processes

    def pids(self) -> dict[str, int]:
        """Return the processes that live, by the names that `status` shows."""
        return {name: process.pid for name, process in self._processes()}

    def processes(self) -> list[str]:
        """Return the names of everything that can be killed."""
        return sorted(self.pids())

    def alive(self, name: str) -> int | None:
        """Return a process's pid, None while it is between two starts."""
        return self.pids().get(name)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for record in leftovers.records(self.home):
            if record.name in (leftovers.SUPERVISOR, leftovers.UP) or not (process := record.process()):
                continue
            engine = record.path.name.endswith(".engine.json")
            yield local_node.engine_name(record.name) if engine else record.name, process

    def said(self) -> str:
        """Return which processes live and what the nodes say of themselves, for a finding's words."""
        with self.redis as client:
            beats = {name: client.hmget(f"ml:node:{name}", "state", "error") for name in self.nodes}
        return f"{', '.join(self.processes())}; {beats}"

    def counted(self) -> dict[str, int]:
        """Return how many processes each name of ours has: those below the supervisor, and any that slipped away."""
        count: Counter[str] = Counter()
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "app.cli" in words and str(self.home.path) in words and process.status() != psutil.STATUS_ZOMBIE:
                verb = words[words.index("app.cli") + 1]
                count[f"{verb} {words[words.index('--name') + 1]}" if "--name" in words else verb] += 1
        return dict(count)

    async def whole_again(self) -> None:
        """Wait until every process runs, every node is ready and the page answers."""
        wanted = {*BEGINNERS, "server-bot", "web", "worker", "beat", "flower", *map(local_node.process_name, self.nodes)}
        await until_async(lambda: asyncio.to_thread(self._whole, wanted), READY_SECONDS)

    def _whole(self, wanted: set[str]) -> bool:
        if wanted - set(self.pids()):
            return False
        try:
            with self.redis as client:
                return all(client.hget(f"ml:node:{name}", "state") == b"ready" for name in self.nodes)
        except (OSError, RedisError):
            return False


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    logins, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{logins}{at}{parts.hostname}:{port}").geturl()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
