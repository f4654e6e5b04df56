"""The note a node leaves about its llama.cpp, so that others can show it and the next start can end it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import psutil
import structlog

log = structlog.get_logger(__name__)

#: psutil's creation times of one process differ by less than this between two reads.
SAME_SECONDS = 0.05
#: An orphan has nothing to save; it gets a moment to leave the GPU in order.
GRACE_SECONDS = 2.0


class EngineRecord:
    """RUN_DIR/NODE.engine.json: {"pid", "created", "port", "state"}, mode 0600, replaced as a whole."""

    def __init__(self, run_dir: Path, node: str) -> None:
        self.path = run_dir / f"{node}.engine.json"

    def write(self, pid: int, created: float, port: int, state: str) -> None:
        """Record this process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        content = json.dumps({"pid": pid, "created": created, "port": port, "state": state})
        draft.touch(mode=0o600)
        draft.write_text(content)
        draft.replace(self.path)

    def remove(self) -> None:
        """Nothing runs any more."""
        self.path.unlink(missing_ok=True)

    def process(self) -> psutil.Process | None:
        """The recorded process, if it still runs and its number was not given to another."""
        try:
            noted: Any = json.loads(self.path.read_bytes())
            process = psutil.Process(int(noted["pid"]))
            same = abs(process.create_time() - float(noted["created"])) < SAME_SECONDS
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return process if same and process.is_running() else None

    async def end_orphan(self) -> None:
        """End what an earlier start left running, with the guard above it if there is one."""
        orphan = self.process()
        if orphan is None or orphan.pid == os.getpid():
            return
        log.warning("Ending the llama.cpp that an earlier start left behind", pid=orphan.pid)
        await asyncio.to_thread(_end, orphan)
        self.remove()


def _end(process: psutil.Process) -> None:
    try:
        process.terminate()
        process.wait(GRACE_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(GRACE_SECONDS)
    except psutil.NoSuchProcess:
        return
