"""How often one may try to sign in: counted on Redis, exact over all processes, by name and by address."""

import hashlib
import time
from functools import cache
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from app.core import redis
from app.core.config import settings
from app.services import limits
from app.services.limits import Kind
from app.services.network import network, site
from app.wire import names
from app.wire.errors import TooOften

MINUTES: Final = 5
"""In which tries are counted; how many there may be is a limit like others, `tries` of `name` and of `address`."""
SITES: Final = 8
"""How many times as many there may be from all of a /48 of IPv6: it holds 65,536 of what counts as one address."""


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


def forgive(name: str, address: str) -> None:
    """Forget the tries for a name: whoever has just signed in may do so again, and is known where they did."""
    for item, whose in _items(name, address):
        if not whose.startswith("address:"):
            _limiter().clear(item, whose)
    if address:
        redis.client().set(names.known_place(_hash(name, network(address))), 1, ex=names.PLACE_SECONDS)


def _items(name: str, address: str) -> list[tuple[RateLimitItem, str]]:
    items: list[tuple[RateLimitItem, str]] = []
    by_address, by_name = limits.of(Kind.TRIES, limits.ADDRESS), limits.of(Kind.TRIES, limits.NAME)
    if address and by_address is not None:
        items.append((RateLimitItemPerMinute(by_address, MINUTES), f"address:{network(address)}"))
        if wide := site(address):
            items.append((RateLimitItemPerMinute(by_address * SITES, MINUTES), f"address:{wide}"))
    if name and by_name is not None:
        # Counted apart where somebody has signed in before: else a stranger who guesses keeps them out, for as long as they like.
        here = _hash(name, network(address))
        known = bool(address) and redis.client().exists(names.known_place(here))
        items.append((RateLimitItemPerMinute(by_name, MINUTES), f"name:{here if known else _hash(name)}"))
    return items


def _hash(*words: str) -> str:
    # Names are what people type, at times their password: Redis gets to see neither.
    return hashlib.sha256("\n".join(words).encode("utf-8", "replace")).hexdigest()[:32]
