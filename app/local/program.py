"""What the supervisor is told about one process of the stack."""

import sys
from dataclasses import dataclass
from pathlib import Path

from app.local import guard
from app.local.home import Home

#: The supervisor stops one group after the other, the last first: ours go before the servers they need.
SERVERS, OURS = "servers", "ours"


@dataclass(frozen=True)
class Program:
    """One supervised process; `name` is what status, logs and messages call it."""

    name: str
    command: list[str]
    group: str = OURS
    directory: Path | None = None
    #: How the supervisor asks it to end.
    stop_signal: str = "TERM"
    #: What the kernel sends when the supervisor itself is killed. Ours are built to be killed at any moment,
    #: and nobody would be left to insist.
    death_signal: str = "KILL"
    #: Seconds until the supervisor kills it. Two groups one after the other stay below ten.
    stop_seconds: int = 4
    #: Seconds it must live to count as started; one that ends sooner is tried again with growing pauses.
    start_seconds: int = 2
    uid: int | None = None
    #: JSON file of variables for this process alone.
    environment: Path | None = None

    def record(self, home: Home) -> Path:
        """Where the guard writes its pid."""
        return home.run / f"{self.name}.pid.json"

    def guarded(self, home: Home) -> list[str]:
        """The whole command line, our guard in front."""
        line = [*GUARD, "--record", str(self.record(home)), "--death", self.death_signal]
        if self.uid is not None:
            line += ["--uid", str(self.uid)]
        if self.environment is not None:
            line += ["--environment", str(self.environment)]
        return [*line, "--", *self.command]


#: Isolated and without site-packages: 15 ms instead of 60, and nothing of ours is imported.
GUARD = [sys.executable, "-I", "-S", guard.__file__]


def ours(name: str, arguments: list[str], home: Home) -> Program:
    """One of our own processes, run by this interpreter (-P: the working directory is no place for imports)."""
    command = [sys.executable, "-P", "-m", "app.cli", *arguments, "--home", str(home.path)]
    return Program(name=name, command=command)
