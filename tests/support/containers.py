"""Processes in the place of containers, so that pytest-celery's nodes and clusters drive what we really ship.

pytest-celery asks a container for: status, id, name, logs, kill, restart, reload, ready, teardown and celeryconfig.
No engine runs here, so each of these is answered by a subprocess that dies with the tests.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestContainer
from redis import Redis

from app.local.program import GUARD
from app.local.settings import Settings
from tests.support.servers import Server
from tests.support.waiting import PATIENCE, until

STOP_SECONDS = 15


class ProcessContainer(CeleryTestContainer):
    """One of our own processes; it may be killed and started again as often as a test likes."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: dict[str, str], prompt: str) -> None:
        # Not the parent's: that one wraps a container of an engine.
        self._name = name
        self._command = [*GUARD, "--death", "KILL", "--", sys.executable, "-P", "-m", "app.cli", *arguments]
        self._log = folder / f"{name}.log"
        self._environment = environment
        self._prompt = prompt
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        self.start()

    def start(self) -> None:
        """Start the process; its log goes on in the same file."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MEATLIZARD_")}
        self._from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=inherited | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def id(self) -> str:
        return f"process-{self.pid}"

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        """Docker's words for it."""
        return "running" if self._process is not None and self._process.poll() is None else "exited"

    @property
    def exit_status(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def ready_prompt(self) -> str:
        return self._prompt

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    def logs(self) -> str:
        """Return what the process has written since it was last started."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def ready(self) -> bool:
        """Wait for the line that says so."""

        def said() -> bool:
            assert self.status == "running", self.logs()
            return self.ready_prompt in self.logs()

        return until(said, said=self.logs)

    def reload(self) -> None:
        """Do nothing: what is asked of a process is always fresh."""

    def kill(self, signal: str | int | None = None) -> None:  # the interface's own name
        """Send a signal, and wait for the end where it is one that ends."""
        assert self._process is not None
        number = _number(signal or "SIGKILL")
        self._process.send_signal(number)
        if number not in _NOT_AN_END:
            self._process.wait(PATIENCE)

    def restart(self, timeout: int = STOP_SECONDS) -> None:
        """Start it anew and return when it is ready; what still runs is ended first."""
        self.stop(timeout)
        self.start()
        self.ready()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End it in good order, or by force when it takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def teardown(self) -> None:
        """End it at once: a test that wants to see a good end asks for one."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class ValkeyContainer(CeleryTestContainer):
    """The run's own Valkey as pytest-celery's broker."""

    def __init__(self, server: Server, settings: Settings, wait: Callable[[], None]) -> None:
        self._server, self._settings, self._wait = server, settings, wait

    @property
    def id(self) -> str:
        return f"process-{self._server.pid}"

    @property
    def name(self) -> str:
        return self._server.program.name

    @property
    def status(self) -> str:
        return "running" if self._server.process is not None and self._server.process.poll() is None else "exited"

    @property
    def client(self) -> Any:
        return Redis.from_url(self._settings.redis_url)

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = self._settings.redis_url
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self._settings.redis_port, "vhost": "0"}

    def logs(self) -> str:
        return self._server.log.read_text()

    def ready(self) -> bool:
        self._wait()
        return True

    def reload(self) -> None:
        """Do nothing, as above."""

    def kill(self, signal: str | int | None = None) -> None:  # the interface's own name
        """End it; what it had said was on disk is on disk."""
        self._server.stop(_number(signal or "SIGKILL"))

    def restart(self, timeout: int = STOP_SECONDS) -> None:
        """Start it anew on the same port and data."""
        self._server.stop()
        self._server.start()
        self._wait()

    def teardown(self) -> None:
        """Leave it running for the tests that follow."""
        if self.status != "running":
            self._server.start()
            self._wait()


_NOT_AN_END = (signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1)


def _number(given: str | int) -> int:
    return signal.Signals[given] if isinstance(given, str) else given


