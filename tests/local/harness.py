"""The verbs as a person runs them, with stand-ins for our own processes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.local import leftovers
from app.local.home import Home
from tests.support.waiting import PATIENCE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass
class Cli:
    """The verbs on one home, each a process of its own as in a shell."""

    home: Home
    python: str = sys.executable
    user: int | None = None

    def popen(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        command = [self.python, str(HERE / "up.py"), verb, "--home", str(self.home.path), *arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MEATLIZARD_")}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *(path for path in sys.path if "site-packages" in path), str(HERE / "old_python")]
        )
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        somebody_else: dict[str, Any] = {}
        if self.user is not None:
            somebody_else = {"user": self.user, "group": self.user, "extra_groups": [], "cwd": "/"}
        return subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **somebody_else,
        )

    def run(self, verb: str, *arguments: str, ok: bool = True) -> str:
        process = self.popen(verb, *arguments)
        output, _ = process.communicate(timeout=120)
        assert (process.returncode == 0) is ok, output
        return output

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json"))
        return found

    def family(self) -> list[psutil.Process]:
        """The supervisor and all below it."""
        record = leftovers.read(self.home, leftovers.SUPERVISOR)
        assert record
        supervisor = record.process()
        assert supervisor
        return [supervisor, *supervisor.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def terminate(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    return output
