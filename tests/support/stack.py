"""A whole stack in a home of its own, started and stopped with the command that people use."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.local import status as local_status
from app.local.home import Home
from tests.support.waiting import until

UP_SECONDS = 270
"""A start on a machine that is busy with other tests; the promise itself is measured where nothing else runs."""


@dataclass(slots=True)
class Stack:
    """One home and what runs in it."""

    home: Path
    environment: dict[str, str]
    command: list[str] = field(default_factory=lambda: [sys.executable, "-m", "app.cli"])
    known_token: str = ""

    @classmethod
    def of(cls, home: Path, **settings: str) -> "Stack":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MEATLIZARD_")}
        return cls(home, clean | {f"MEATLIZARD_{name.upper()}": value for name, value in settings.items()})

    def run(self, *words: str, check: bool = True, timeout: float = UP_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a verb in this home."""
        command = [*self.command, *words, "--home", str(self.home)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def up(self, *words: str) -> str:
        return self.run("up", "--detach", *words).stdout

    def down(self) -> None:
        self.run("down")

    def status(self) -> dict[str, Any]:
        """What `status --json` prints, without a process for each look of those who wait for something."""
        return local_status.status(Home.at(self.home)) or local_status.NOTHING

    def status_told(self) -> dict[str, Any]:
        """What it does print."""
        found: dict[str, Any] = json.loads(self.run("status", "--json", check=False).stdout)
        return found

    def ask(self, prompt: str, *words: str) -> dict[str, Any]:
        """Ask the way the command line does; return the object it prints."""
        answer: dict[str, Any] = json.loads(self.run("chat", "--json", prompt, *words, check=False).stdout or "{}")
        return answer

    def token(self) -> str:
        """One for programs, without limits; the same for all who ask."""
        self.known_token = self.known_token or self.run("token", "new", "--unlimited").stdout.strip()
        return self.known_token

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self.status()["processes"][name]["pid"])

    def kill(self, name: str) -> None:
        """End a process as a crash would, and wait until another one has taken its place."""
        old = self.process(name)
        old.send_signal(signal.SIGKILL)
        until(lambda: self.replaced(name, old.pid), 60, lambda: f"{name}: {self.status()} {self.logs()}")

    def replaced(self, name: str, pid: int) -> bool:
        now = self.status()["processes"].get(name, {})
        return now.get("state") == "running" and now.get("pid") not in (None, pid)

    def logs(self) -> str:
        """The last lines of every log, for a failure's report."""
        parts = []
        for path in sorted((self.home / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-5:]
            parts.append(f"== {path.name}\n" + "\n".join(line[:300] for line in lines))
        return "\n".join(parts)

    def pids(self) -> set[int]:
        """Every process of this home that lives, children included."""
        pids = set()
        for entry in self.status()["processes"].values():
            try:
                process = psutil.Process(entry["pid"])
                pids |= {process.pid, *(child.pid for child in process.children(recursive=True))}
            except (psutil.NoSuchProcess, TypeError):
                continue
        return pids
