"""A process's sign of life in Redis: who it is, what it uses, what it did; the pages and Prometheus read it there."""

import os
import socket
import threading
from importlib.metadata import version
from typing import Any, Final

import orjson
import psutil
import structlog

from app.core import clock, redis, tally
from app.wire import names

log = structlog.get_logger(__name__)


class Presence:
    """Says so every few seconds from a thread of its own, until the process ends."""

    def __init__(self, process: str) -> None:
        self._process: Final = process
        self._self: Final = psutil.Process()
        self._key: Final = names.process_key(process, socket.gethostname(), os.getpid())
        self._away = False

    def start(self) -> None:
        """Begin; never ends before the process does."""
        threading.Thread(target=self._run, name="presence", daemon=True).start()

    def say(self) -> None:
        """Write it once."""
        clock.adjust()
        body = orjson.dumps(self._facts() | tally.told())
        redis.client().set(self._key, body, ex=names.PROCESS_TTL_SECONDS)

    def _facts(self) -> dict[str, Any]:
        cpu = self._self.cpu_times()
        return {
            "process": self._process,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("meatlizard"),
            "started": self._self.create_time(),
            "at": clock.now_ms() / 1000,
            "cpu": cpu.user + cpu.system,
            "memory": self._self.memory_info().rss,
            "threads": self._self.num_threads(),
        }

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.say()
                self._away = False
            except redis.ERRORS as error:
                if not self._away:
                    log.warning("presence.missed", error=str(error))
                self._away = True
            pause.wait(names.PROCESS_SECONDS)


def processes() -> list[dict[str, Any]]:
    """Return what every process said last, by name; one that is gone is missing."""
    client = redis.client()
    keys = sorted(client.scan_iter(f"{names.PROCESS}*", count=1000))
    found = [one for raw in (client.mget(keys) if keys else []) if raw and (one := _read(raw))]
    return sorted(found, key=lambda one: (one["process"], one["host"], one["pid"]))


def _read(raw: bytes) -> dict[str, Any] | None:
    """Return what a process said; None where somebody else wrote there what no process says."""
    try:
        one = orjson.loads(raw)
        numbers = [one[name] for name in ("pid", "started", "at", "cpu", "memory", "threads")]
        words = [one[name] for name in ("process", "host", "version")]
        for task, outcome, count, seconds in one["tasks"]:
            numbers += [count, seconds]
            words += [task, outcome]
        times, waited = one["discord_waits"]
        numbers += [times, waited]
    except (ValueError, TypeError, KeyError):
        return None
    sound = all(type(number) in (int, float) for number in numbers) and all(isinstance(word, str) for word in words)
    return one if sound and isinstance(one["tasks"], list) else None
