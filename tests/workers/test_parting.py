"""A worker that cannot go on ends, even where one of its threads never does."""

import subprocess
import sys

import pytest

WORKER = """
import sys, threading
from celery import Celery, bootsteps
from app import parting

class Hangs(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Pool",)

    def start(self, parent):
        threading.Thread(target=threading.Event().wait).start()

    def stop(self, parent):
        print("stopping", flush=True)
        {stop}

class Broken(bootsteps.StartStopStep):
    def start(self, parent):
        raise {error}

app = Celery("x", broker="memory://")
app.steps["worker"].add(Hangs)
app.steps["consumer"].add(Broken)
parting.PARTING_SECONDS = {seconds}
parting.run(app.Worker(pool="threads", without_gossip=True, without_mingle=True, quiet=True))
"""


@pytest.mark.parametrize("stop", ["pass", "threading.Event().wait()"])
def test_an_unforeseen_error_ends_the_process_whatever_hangs(stop: str) -> None:
    program = WORKER.format(error="RuntimeError", stop=stop, seconds=3.0)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "stopping" in ended.stderr  # Where Celery sends all that is printed.
    assert ended.returncode == 1, ended.stderr
    assert "worker.hangs" in ended.stderr


@pytest.mark.parametrize("asked", ["SystemExit(0)", "SystemExit(1)", "KeyboardInterrupt"])
def test_an_end_that_was_asked_for_takes_its_time(asked: str) -> None:
    """However: Celery ends with 0 after SIGTERM, and with 1 after Ctrl-C."""
    slow = 'threading.Event().wait(1); print("stopped", flush=True); import os; os._exit(7)'
    program = WORKER.format(error=asked, stop=slow, seconds=0.2)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "stopped" in ended.stderr
    assert ended.returncode == 7
