"""Redis clients: one for synchronous code, one for the event loop, one for Pub/Sub."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from redis import BlockingConnectionPool, Redis
from redis.asyncio import BlockingConnectionPool as AsyncPool
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.core.config import settings
from app.wire import sockets

TIMEOUT_SECONDS = 5
"""How long a command may take before the connection counts as dead."""

TURN_SECONDS = 30
"""How long a page waits for one of the event loop's connections while hundreds of others ask for theirs. None of those is
held longer than a command may take, so the wait ends; one that is cut short would cost the page its socket."""

_COMMON: dict[str, Any] = {
    "socket_timeout": TIMEOUT_SECONDS,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "socket_keepalive_options": sockets.OPTIONS,
    "health_check_interval": 15,
    "max_connections": 32,
    "timeout": TIMEOUT_SECONDS,
}


@cache
def client() -> Any:
    """Return the synchronous client of this process; untyped, since redis-py types every answer as all it could be."""
    pool = BlockingConnectionPool.from_url(
        settings().redis_url.get_secret_value(),
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 2),
        **_COMMON,
    )
    return Redis(connection_pool=pool)


@contextmanager
def blocking_client(seconds: float) -> Iterator["Redis"]:
    """Give a client of its own whose commands may block for so long before the connection counts as dead."""
    more: dict[str, Any] = {"socket_timeout": seconds + TIMEOUT_SECONDS, "socket_connect_timeout": 3}
    more |= {"socket_keepalive": True, "socket_keepalive_options": sockets.OPTIONS}
    client = Redis.from_url(settings().redis_url.get_secret_value(), retry=Retry(NoBackoff(), 0), **more)
    try:
        yield client
    finally:
        client.close()


def async_client() -> AsyncRedis:
    """Return a client for the running event loop."""
    return AsyncRedis(connection_pool=AsyncPool.from_url(settings().redis_url.get_secret_value(), **_COMMON | {"timeout": TURN_SECONDS}))


def pubsub_client() -> AsyncRedis:
    """Return a client whose reads wait for ever; the hub watches over its life itself."""
    return AsyncRedis.from_url(
        settings().redis_url.get_secret_value(),
        socket_timeout=None,
        socket_connect_timeout=3,
        socket_keepalive=True,
        socket_keepalive_options=sockets.OPTIONS,
        health_check_interval=0,
    )


ERRORS = (RedisError, OSError)
"""What a call raises where Redis is away, or answers that it cannot."""
