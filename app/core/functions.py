"""Calling the platform's Redis functions; a Redis that has lost them is given them again."""

from functools import cache
from typing import Any, Final

import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ResponseError

from app.core import redis
from app.core.queueing import SOURCE as QUEUE
from app.stream.scripts import SOURCE as STREAM

log = structlog.get_logger(__name__)

LIBRARIES: Final = (STREAM, QUEUE)
MISSING: Final = "Function not found"


def load() -> None:
    """Give Redis the functions as this version has them: at a process's first call, and when Redis was started anew."""
    for source in LIBRARIES:
        redis.client().function_load(source, replace=True)


@cache
def _loaded_once() -> None:
    load()


def call(function: str, *words: Any) -> Any:
    """Return what a function answers."""
    _loaded_once()
    try:
        return redis.client().fcall(function, 0, *words)
    except ResponseError as error:
        if MISSING not in str(error):
            raise
        log.info("functions.loaded", missing=function)
        load()
        return redis.client().fcall(function, 0, *words)


async def call_async(client: AsyncRedis, function: str, *words: Any) -> Any:
    """Do the same on an event loop."""
    try:
        return await client.fcall(function, 0, *words)
    except ResponseError as error:
        if MISSING not in str(error):
            raise
        for source in LIBRARIES:
            await client.function_load(source, replace=True)
        return await client.fcall(function, 0, *words)


