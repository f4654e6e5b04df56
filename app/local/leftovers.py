"""Finding and ending what an earlier start left running: by recorded pid, never one that became another process."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.local.home import Home, write_private

#: A record is written just after its process began, so a process that began later has inherited the number.
#: Seconds of tolerance: the kernel counts from a boot time that is kept in whole seconds.
CLOCK_TOLERANCE = 1.0
#: Seconds for a supervisor to stop all it runs, and for any other process to end when asked.
SUPERVISOR_SECONDS = 9.0
PROCESS_SECONDS = 4.0

SUPERVISOR = "supervisor"
UP = "up"


@dataclass(frozen=True)
class Record:
    """One recorded process; `name` is the program's, `path` the file that says so."""

    name: str
    path: Path
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process if it is still the one recorded."""
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() <= self.created + CLOCK_TOLERANCE
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def write(home: Home, name: str, pid: int, **more: object) -> None:
    """Records a running process under that name, with what else helps to reach it."""
    created = psutil.Process(pid).create_time()
    write_private(home.run / f"{name}.pid.json", json.dumps({"pid": pid, "created": created, **more}))


def read(home: Home, name: str) -> Record | None:
    """The record of that name, whether or not the process lives."""
    return _parse(home.run / f"{name}.pid.json")


def forget(home: Home, name: str) -> None:
    """Removes the record of that name."""
    (home.run / f"{name}.pid.json").unlink(missing_ok=True)


def records(home: Home) -> list[Record]:
    """All records of the home: our own programs' and the engines' that nodes write."""
    files = [*home.run.glob("*.pid.json"), *home.run.glob("*.engine.json")]
    return [record for file in sorted(files) if (record := _parse(file))]


def end(home: Home) -> list[str]:
    """Ends all that is recorded and alive, the supervisor first since it stops its own in order; their names."""
    found = {record.name: process for record in records(home) if (process := record.process())}
    found = {name: process for name, process in found.items() if process.pid != os.getpid()}
    everyone = {process.pid: process for process in found.values()}
    for process in found.values():
        # Children too (an engine below its node): a killed parent may not have taken them along.
        everyone.update({child.pid: child for child in _children(process)})
    for first in (SUPERVISOR, UP):
        if first in found:
            _end([found[first]], SUPERVISOR_SECONDS)
    _end(list(everyone.values()), PROCESS_SECONDS)
    for record in records(home):
        if not record.process():
            record.path.unlink(missing_ok=True)
    return sorted(found)


def _end(processes: list[psutil.Process], seconds: float) -> None:
    for process in processes:
        try:
            # PostgreSQL takes TERM for "when all clients have left".
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=PROCESS_SECONDS)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _parse(path: Path) -> Record | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Record(path.name.split(".")[0], path, int(found["pid"]), float(found["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Half written when its writer was killed: the process, if any, dies with its parent or is found by it.
        return None
