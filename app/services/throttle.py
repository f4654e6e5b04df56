"""How often one may try to sign in: counted on Redis, exact over all processes, by name and by address."""

import hashlib
import ipaddress
import time
from functools import cache
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from app.core import redis
from app.core.config import settings
from app.wire import names
from app.wire.errors import TooOften

BY_NAME: Final = RateLimitItemPerMinute(10, 5)
"""Tries for one name in five minutes: far fewer than guessing takes, more than forgetting does."""
BY_ADDRESS: Final = RateLimitItemPerMinute(30, 5)
"""Tries from one address in five minutes; a family behind one router signs in with fewer."""


@cache
def _limiter() -> MovingWindowRateLimiter:
    url = settings().redis_url.get_secret_value()
    return MovingWindowRateLimiter(
        RedisStorage(url, connection_pool=redis.client().connection_pool, key_prefix=names.TRIES)
    )


def count(name: str, address: str) -> None:
    """Count a try to sign in, whatever comes of it; raise TooOften, saying until when, where there were too many."""
    for item, whose in _items(name, address):
        if not _limiter().hit(item, whose):
            reset = _limiter().get_window_stats(item, whose).reset_time
            raise TooOften("Too many tries to sign in", max(1, round(reset - time.time())))


def forgive(name: str) -> None:
    """Forget the tries for a name: whoever has just signed in may do so again."""
    for item, whose in _items(name, ""):
        _limiter().clear(item, whose)


def _items(name: str, address: str) -> list[tuple[RateLimitItem, str]]:
    items: list[tuple[RateLimitItem, str]] = []
    if address:
        items.append((BY_ADDRESS, f"address:{network(address)}"))
    if name:
        # Names are what people type, at times their password: Redis gets to see neither.
        items.append((BY_NAME, "name:" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]))
    return items


def network(address: str) -> str:
    """Return what one customer of a provider has: an IPv4 address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
