"""What can be done to a running platform: each act hurts one thing, for some seconds, and then takes its hand away."""

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections.abc import Iterator
from typing import Final

import psutil
from redis import RedisError

from app.local import node as local_node
from app.wire import names
from tests.faults import discord
from tests.faults.injection import Injection
from tests.faults.load import Load
from tests.faults.proxy import Wire
from tests.faults.stage import Stage
from tests.support.waiting import until_async

BACK_SECONDS: Final = 60
"""Within which a process that was ended has been started anew."""
GRACE_SECONDS: Final = 20
"""Before the SIGKILL that every supervisor sends to whoever does not end."""
BACKLOG_SECONDS: Final = 1.0
DISK_BYTES: Final = 4096
"""A file may grow no further: what a full disk does to whoever writes."""
CLOCK_STEP_SECONDS: Final = 600
TRICKS: Final = ("crash", "oom", "hang", "garbage", "drop", "error", "slow=2", "quiet=2")


def all_of(stage: Stage, load: Load, dice: random.Random) -> list[Injection]:
    """Return every fault that can be done to this stage."""
    hand = _Hand(stage, load, dice)
    own = [*hand.signals(), *hand.wires(), *hand.stores(), *hand.tasks(), *hand.clocks(), *hand.engines()]
    return [*own, *discord.all_of(stage, dice)]


class _Hand:
    def __init__(self, stage: Stage, load: Load, dice: random.Random) -> None:
        self._stage, self._load, self._dice = stage, load, dice

    # Processes

    def signals(self) -> Iterator[Injection]:
        for name in self._stage.processes():
            yield Injection("killed", name, lambda _, name=name: self._end(name, signal.SIGKILL))
            yield Injection("ended", name, lambda _, name=name: self._end(name, signal.SIGTERM))
            yield Injection("stopped", name, lambda seconds, name=name: self._halt(name, seconds))

    async def _end(self, name: str, number: signal.Signals) -> None:
        pid = self._stage.alive(name)
        if pid is None:
            return
        if name == "postgres" and number == signal.SIGTERM:
            number = signal.SIGINT  # Its "fast" end; TERM waits until every client has left of its own will.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        await self._back(name, pid)

    async def _back(self, name: str, pid: int) -> None:
        async def another() -> bool:
            return await asyncio.to_thread(self._stage.alive, name) not in (None, pid)

        try:
            await until_async(another, GRACE_SECONDS)
        except TimeoutError:
            # Celery does not hear a SIGTERM while it looks for a broker that is away.
            if await asyncio.to_thread(self._stage.alive, name) == pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await until_async(another, BACK_SECONDS)

    async def _halt(self, name: str, seconds: float) -> None:
        pid = self._stage.alive(name)
        if pid is None:
            return
        with _halted(pid, name == "postgres"):
            await asyncio.sleep(seconds)

    # Wires

    def wires(self) -> Iterator[Injection]:
        for name in self._stage.proxies:
            for wire in (Wire.CUT, Wire.SLOW, Wire.LOSSY, Wire.HALF_OPEN, Wire.DEAF):
                yield Injection(f"wire {wire}", name, lambda seconds, name=name, wire=wire: self._wire(name, wire, seconds))

    async def _wire(self, name: str, wire: Wire, seconds: float) -> None:
        proxy = self._stage.proxies[name]
        proxy.become(wire)
        await asyncio.sleep(seconds)
        proxy.become(Wire.WHOLE)

    # Stores

    def stores(self) -> Iterator[Injection]:
        yield Injection("emptied", "redis", self._flush)
        yield Injection("restarted without its data", "redis", self._forgotten)
        yield Injection("disk full", "postgres", lambda seconds: self._disk_full("postgres", seconds))
        yield Injection("disk full", "redis", lambda seconds: self._disk_full("redis", seconds))

    async def _flush(self, _: float) -> None:
        def flush() -> None:
            with contextlib.suppress(RedisError, OSError), self._stage.redis as client:
                client.flushall()

        await asyncio.to_thread(flush)

    async def _forgotten(self, seconds: float) -> None:
        await self._flush(seconds)
        await self._end("redis", signal.SIGKILL)

    async def _disk_full(self, name: str, seconds: float) -> None:
        pid = self._stage.alive(name)
        if pid is None:
            return
        full = _family(pid)
        for process in full:
            _limit(process, DISK_BYTES)
        await asyncio.sleep(seconds)
        for process in {*full, *_family(pid)}:
            _limit(process, resource.RLIM_INFINITY)

    # Tasks

    def tasks(self) -> Iterator[Injection]:
        yield Injection("tasks delivered twice", "inference", self._redeliver)
        yield Injection("tasks twice and out of order", "worker", self._shuffle)

    async def _redeliver(self, _: float) -> None:
        """Jobs come to a node once more, while it works on them."""
        node = self._dice.choice(self._stage.nodes[:-1])  # The last one has no queue.
        await self._double(local_node.process_name(node), names.inference_queue(node))

    async def _shuffle(self, _: float) -> None:
        """The outcomes of a second lie there doubled and in any order before a worker may look."""
        await self._double("worker", names.TURNS)

    async def _double(self, name: str, queue: str) -> None:
        pid = self._stage.alive(name)
        if pid is None:
            return

        def double() -> None:
            with contextlib.suppress(RedisError, OSError), self._stage.redis as client:
                lying = client.lrange(queue, 0, -1)
                self._dice.shuffle(lying)
                for message in lying:
                    client.lpush(queue, message)

        with _halted(pid):
            await asyncio.sleep(BACKLOG_SECONDS)
            await asyncio.to_thread(double)

    # Clocks

    def clocks(self) -> Iterator[Injection]:
        for name in ("web", "worker", *(f"node-{node}" for node in self._stage.nodes[:2])):
            yield Injection("clock stepped", name, lambda seconds, name=name: self._step(name, seconds))

    async def _step(self, name: str, seconds: float) -> None:
        file = self._stage.clock / name
        file.write_text(str(self._dice.choice((-1, 1)) * CLOCK_STEP_SECONDS))
        await asyncio.sleep(seconds)
        file.unlink()

    # Engines

    def engines(self) -> Iterator[Injection]:
        for trick in TRICKS:
            yield Injection(f"engine {trick.partition('=')[0]}", "a reply", lambda _, trick=trick: self._trick(trick))

    async def _trick(self, trick: str) -> None:
        self._load.tricks.append(trick)
        while self._load.tricks and not self._load.over.is_set():
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def _halted(pid: int, family: bool = False) -> Iterator[None]:
    processes = _family(pid) if family else [psutil.Process(pid)]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.resume()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _limit(process: psutil.Process, most: int) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        process.rlimit(psutil.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
