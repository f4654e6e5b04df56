"""What this process did, counted in its memory: tasks, and waits for Discord. It goes out with its presence."""

import threading
import time
from collections import defaultdict
from typing import Any, Final

import structlog
from celery.signals import task_postrun, task_prerun

_LOCK: Final = threading.Lock()
_tasks: Final[defaultdict[tuple[str, str], list[float]]] = defaultdict(lambda: [0, 0.0])
"""How many times a task ended in which state, and the seconds that it took in all."""
_waits: Final = [0, 0.0]
_began: Final = threading.local()


@task_prerun.connect
def _begin(task: Any = None, task_id: str | None = None, **_: Any) -> None:
    _began.at = time.monotonic()
    # Whatever is said during a task says during which: threads are used again, so it is cleared at the end.
    structlog.contextvars.bind_contextvars(task=getattr(task, "name", None), task_id=task_id)


@task_postrun.connect
def _end(task: Any = None, state: str | None = None, **_: Any) -> None:
    structlog.contextvars.clear_contextvars()
    took = time.monotonic() - getattr(_began, "at", time.monotonic())
    with _LOCK:
        counted = _tasks[str(task.name), (state or "unknown").lower()]
        counted[0] += 1
        counted[1] += took


def waited(seconds: float) -> None:
    """Count a wait for Discord's rate limits; the Server-Bot tells each."""
    with _LOCK:
        _waits[0] += 1
        _waits[1] += seconds


def told() -> dict[str, Any]:
    """Return what was counted, as one object of plain values."""
    with _LOCK:
        tasks = [[name, state, int(count), seconds] for (name, state), (count, seconds) in _tasks.items()]
        return {"tasks": tasks, "discord_waits": list(_waits)}
