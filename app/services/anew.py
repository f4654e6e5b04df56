"""Throwing away what Redis knows of the queue, where somebody has put into it what cannot be there: it is laid anew from the rows."""

import time
from typing import Final

import structlog
from redis.exceptions import ResponseError
from sqlalchemy.exc import StatementError

from app.core import functions, redis
from app.wire import names

log = structlog.get_logger(__name__)

SOFT: Final = (
    *("ml:queue:*", names.LEASES, names.NODES, names.DRAINING, names.node_leases("*"), names.node_key("*")),
    *(names.turn_meta("*"), names.turn_stream("*"), names.node_alive("*"), names.node_recent("*")),
)
"""What the sweeper, the nodes and the dispatcher write again by themselves, as they do after a FLUSHALL."""
DAMAGE: Final = (ResponseError, StatementError, ValueError, TypeError)
"""What it comes to where a key is of another kind, or holds what is no id and no number."""
SAID: Final = ("WRONGTYPE", "attempt to ", "bad argument")
"""What Redis and Lua say then; the rest of what they may answer (too little memory, no right, busy) is no damage."""
PAUSE_SECONDS: Final = 60.0
"""Where it did not help it is not done again and again: each time makes every node write its replies anew."""


class _Last:
    """When it was done last, in this process."""

    at = -PAUSE_SECONDS


def damage(error: BaseException) -> bool:
    """Say whether an error means that the queue's keys cannot be read as what they are."""
    return isinstance(error, DAMAGE) and (not isinstance(error, ResponseError) or any(word in str(error) for word in SAID))


def begin() -> bool:
    """Throw it away, functions included; False where that was done a moment ago."""
    if time.monotonic() - _Last.at < PAUSE_SECONDS:
        return False
    _Last.at = time.monotonic()
    client, gone = redis.client(), 0
    for pattern in SOFT:
        for key in list(client.scan_iter(match=pattern, count=1000)):
            gone += int(client.unlink(key))
    functions.load()
    log.error("queue.anew", keys=gone, hint="Somebody wrote into Redis what the platform does not: see who can reach it.")
    return True
