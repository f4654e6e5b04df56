"""Lets a test step the clock of one running process: `time.time` is off by what a file says, read twice a second.

Found by Python at the start of each process whose PYTHONPATH names this folder; the file is named after the process.
"""

import os
import sys
import time
from pathlib import Path

FOLDER = os.environ.get("FAULTS_CLOCK", "")
LOOK_SECONDS = 0.5
PROCESSES = ("web", "worker", "beat", "node", "flower", "server-bot")


def name() -> str:
    """What the process is called: its verb, and for a node its name."""
    words = sys.orig_argv
    verb = next((word for word in words if word in PROCESSES), "")
    return f"{verb}-{words[words.index('--name') + 1]}" if verb == "node" and "--name" in words else verb


class Clock:
    """The process's clock, and how far it is off."""

    def __init__(self, file: Path) -> None:
        self._file, self._real, self._real_ns = file, time.time, time.time_ns
        self._off, self._looked = 0.0, -LOOK_SECONDS

    def off(self) -> float:
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            try:
                self._off = float(self._file.read_text())
            except (OSError, ValueError):
                self._off = 0.0
        return self._off

    def time(self) -> float:
        return self._real() + self.off()

    def time_ns(self) -> int:
        return self._real_ns() + int(self.off() * 1e9)


if FOLDER and name():
    clock = Clock(Path(FOLDER) / name())
    time.time, time.time_ns = clock.time, clock.time_ns
