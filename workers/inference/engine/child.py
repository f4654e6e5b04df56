"""One llama.cpp process of ours: spawned, listened to, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import psutil

from workers.inference.engine.exits import Exit, classify
from workers.inference.engine.log import EngineLog

#: After SIGTERM; a wedged server ignores it.
STOP_SECONDS = 5.0
READ_BYTES = 65_536
#: Here the guard has become llama.cpp itself; elsewhere it is its parent.
LINUX = sys.platform == "linux"


class Child:
    """A running process in a group of its own: Ctrl-C at the terminal must not end it before the node is done."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: EngineLog) -> None:
        self.port = port
        self.pid = process.pid
        self.ready = False
        self.hung = False
        self.stopped = False
        self._process = process
        self._log = log
        self._exit: asyncio.Task[Exit] = asyncio.create_task(self._attend())

    @classmethod
    async def spawn(cls, line: Sequence[str], port: int, log: EngineLog) -> Child:
        """Run `line`; all it prints goes to `log`."""
        log.begin()
        process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, port, log)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._exit.done()

    async def wait(self) -> Exit:
        """Wait until it has ended, and say why."""
        return await asyncio.shield(self._exit)

    async def ended(self, within: float) -> Exit | None:
        """How it ended, if it does so within so many seconds."""
        try:
            # Not wait_for: in Python 3.11 that loses a cancellation that comes together with the result.
            async with asyncio.timeout(within):
                return await self.wait()
        except TimeoutError:
            return None

    async def stop(self) -> Exit:
        """SIGTERM, and SIGKILL for what is left after STOP_SECONDS."""
        self._signal(signal.SIGTERM)
        exit_ = await self.ended(STOP_SECONDS)
        if exit_ is None:
            self._signal(signal.SIGKILL)
            exit_ = await self.wait()
        return exit_

    def processes(self) -> list[psutil.Process]:
        """llama.cpp itself first; behind it the guard, where one stays."""
        try:
            process = psutil.Process(self.pid)
            return [process] if LINUX else [*process.children(), process]
        except psutil.Error:
            return []

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total

    async def _attend(self) -> Exit:
        # The pipe is emptied whatever happens: a full one would stop llama.cpp in the middle of a line.
        output = self._process.stdout
        assert output is not None
        while data := await output.read(READ_BYTES):
            self._log.private = self.ready
            self._log.feed(data)
        status = await self._process.wait()
        # A guard that was killed may have left the real one; the group outlives its leader.
        self._signal(signal.SIGKILL)
        self._log.finish()
        return classify(status, self._log.last(), ready=self.ready, hung=self.hung, stopped=self.stopped)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # macOS answers "not permitted" for a group of zombies.
            return
