"""What was handed in on the queue lane and not believed, for the trail: once a minute, however much of it comes."""

import threading
import time
from typing import Final

import structlog

from app.core.db import transaction
from app.services import audit
from app.wire.errors import Unavailable
from app.wire.states import Door

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 60.0
"""The trail is not to be filled by whoever can write to Redis; the record says how many there were."""
NAME_LENGTH: Final = 31
"""Of the name that it came under, which is anybody's word."""


class _Counted:
    """Those since the last record; in this process' memory, where nobody else can reset it."""

    def __init__(self) -> None:
        self.lock: Final = threading.Lock()
        self.count = 0
        self.told = -EVERY_SECONDS


_counted: Final = _Counted()


def refused(node: str, reason: str) -> None:
    """Count an outcome or a message that was not believed, said to be a node's, and record it in its time."""
    with _counted.lock:
        _counted.count += 1
        if time.monotonic() - _counted.told < EVERY_SECONDS:
            return
        count, _counted.count, _counted.told = _counted.count, 0, time.monotonic()
    name = "".join(char for char in node if char.isprintable())[:NAME_LENGTH] or "unknown"
    try:
        with transaction() as tx:
            audit.record(tx, name, Door.NODE, "envelope.refused", name, reason=reason, count=count)
    except Unavailable as error:
        log.warning("refusal.unrecorded", node=name, error=str(error))
