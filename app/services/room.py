"""Room in Redis: what a node may write into has a size, so that a stolen one cannot fill the server that all share."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog

from app.core import redis
from app.wire import names
from app.wire.acl import own_keys

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 5.0
OF_A_NODE: Final = 32 << 20
"""Bytes of one of a node's own keys, its queue with the sealed prompts of all its slots among them."""
OF_THE_INBOX: Final = 128 << 20
"""Bytes of what nodes have handed in and nobody has taken yet: what an honest one loses with it, it sends again."""
OF_A_STREAM: Final = 32 << 20
"""Bytes of a turn's stream: the longest reply in the smallest pieces takes a third of it."""
FULL: Final = 0.5
"""How much of the memory has to be taken before all streams are looked at."""
MEMORY: Final = 1 << 30
"""What counts as all of it where Redis has no limit."""


def keep() -> list[str | bytes]:
    """Throw away what has grown beyond anything the platform needs; return which keys.

    It asks and unlinks alone, which a Redis that is full still lets one do; a task would not reach its worker any more.
    """
    client = redis.client()
    nodes = [name.decode(errors="replace") for name in client.smembers(names.NODES)]
    allowed = {key: OF_A_NODE for name in nodes for key in own_keys(name)} | {names.NODES_INBOX: OF_THE_INBOX}
    found: list[str | bytes] = [key for key, size in zip(allowed, _sizes(client, list(allowed)), strict=True) if size > allowed[key]]
    memory = client.info("memory")
    if memory["used_memory"] > FULL * (memory.get("maxmemory") or MEMORY):
        found += _streams(client)
    if found:
        client.unlink(*found)
        log.error("redis.room", keys=[str(key) for key in found[:5]], count=len(found), hint="A node wrote more than any does: see whether one was stolen.")
    return found


def _streams(client: Any) -> Iterator[bytes]:
    """Yield the streams that are too large, and those of no turn: a node may write to any, and such a one would never end."""
    begins = names.turn_stream("").encode()
    page = list(client.scan_iter(match=begins + b"*", count=1000))
    for key, size in zip(page, _sizes(client, page), strict=True):
        turn = key.removeprefix(begins)
        if size > OF_A_STREAM or (client.ttl(key) == -1 and not client.exists(names.turn_meta("").encode() + turn)):
            yield key


def _sizes(client: Any, keys: Sequence[str | bytes]) -> list[int]:
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.memory_usage(key)
        return [int(size or 0) for size in pipe.execute()]
