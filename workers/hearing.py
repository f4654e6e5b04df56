"""What Flower believes of the events that workers send: any node may speak on their channel, a stolen one too."""

import re
import time
from typing import Any, Final

from celery.events import EventReceiver

from app.wire import names

TYPES: Final = frozenset(
    {
        *("worker-online", "worker-heartbeat", "worker-offline", "task-sent", "task-received", "task-started"),
        *("task-succeeded", "task-failed", "task-rejected", "task-revoked", "task-retried"),
    }
)
TASKS: Final = frozenset({*names.QUEUE_OF, names.GENERATE})
WORKER: Final = re.compile(r"[\w-]{1,64}@[\w.-]{1,128}", re.ASCII)
FIGURES: Final = ("timestamp", "clock", "pid", "utcoffset", "freq", "active", "processed", "runtime", "retries")
LARGEST: Final = 1e12
LONGEST: Final = 10_000
"""Characters of a word; a traceback is the longest that there is."""
APART_SECONDS: Final = 86_400
"""How far another machine's clock may be off."""
MOST_WORKERS: Final = 200
"""Names that are kept, each with counters of its own for as long as Flower runs."""


def sound(event: Any) -> bool:
    """Say whether an event is what a worker of ours may say: Flower reckons with its figures, and keeps its words."""
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("type", "hostname")):
        return False
    if event["type"] not in TYPES or not WORKER.fullmatch(event["hostname"]) or not {"timestamp", "clock"} <= event.keys():
        return False
    if not all(_plain(name, value) for name, value in event.items()):
        return False
    if event["type"].startswith("task-") and not isinstance(event.get("uuid"), str):
        return False
    return abs(event["timestamp"] - time.time()) < APART_SECONDS and event.get("name", names.SWEEP) in TASKS


def _plain(name: Any, value: Any) -> bool:
    if name in FIGURES:
        return type(value) in (int, float) and abs(value) < LARGEST
    if name == "loadavg":
        return isinstance(value, list) and len(value) == 3 and all(type(one) in (int, float) for one in value)
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST)


class Receiver(EventReceiver):  # type: ignore[misc]  # Celery has no types.
    """Passes on what is sound."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self._workers: Final[set[str]] = set()

    def _receive(self, body: Any, message: Any, *_: Any) -> None:
        for event in body if isinstance(body, list) else [body]:
            if sound(event) and self._known(event["hostname"]):
                self.process(*self.event_from_message(event))

    def _known(self, worker: str) -> bool:
        if len(self._workers) < MOST_WORKERS:
            self._workers.add(worker)
        return worker in self._workers


def use() -> None:
    """Let Flower hear by it; before Flower is started."""
    from flower import events

    events.EventReceiver = Receiver
