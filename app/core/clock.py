"""The time on Redis' clock, which the stamps of a turn are made on: the platform's machines need not agree on their own."""

import time
from functools import cache

from app.core import redis
from app.stream.clock import RedisClock


@cache
def _clock() -> RedisClock:
    return RedisClock()


def now_ms() -> float:
    """Return the milliseconds since 1970; asks nobody."""
    return round(_clock().now() * 1000, 1)


def adjust() -> None:
    """Ask Redis for its time, once; each process does it now and then, beside its work."""
    asked = time.time()
    told = redis.client().time()
    _clock().note(asked, time.time(), told)
