"""The paced stand-in of llama-server in a process of its own, and what it has made."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True)
class Engine:
    """A stand-in that runs."""

    url: str
    record: Path
    rate: float

    def made(self) -> list[dict[str, Any]]:
        """Return every reply it wrote, each with the moment at which its first token was due."""
        return [orjson.loads(line) for line in self.record.read_bytes().splitlines()]


@contextmanager
def engine(folder: Path, *, rate: float = 50.0, first_ms: float = 20.0, slots: int = 512, length: int = 100) -> Iterator[Engine]:
    """Run one for as long as the block does; `rate` in tokens a second of each stream, `length` in tokens."""
    record = folder / "made.jsonl"
    words = ["--rate", rate, "--first-ms", first_ms, "--slots", slots, "--length", length, "--record", record]
    command = [sys.executable, "-m", "tests.fakes.llama", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Engine(process.stdout.readline().split()[-1], record, rate)
        finally:
            process.terminate()
