"""Calling the platform's Redis functions; a Redis that has lost them is given them again."""

from collections.abc import Sequence
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


def call_each(function: str, many: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return what a function answers to each of `many` argument lists, in order; one round trip for all."""
    _loaded_once()
    answers = _pipelined(function, many)
    missing = [at for at, answer in enumerate(answers) if isinstance(answer, ResponseError) and MISSING in str(answer)]
    if missing:
        log.info("functions.loaded", missing=function)
        load()
        for at, answer in zip(missing, _pipelined(function, [many[at] for at in missing]), strict=True):
            answers[at] = answer
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _pipelined(function: str, many: Sequence[tuple[Any, ...]]) -> list[Any]:
    with redis.client().pipeline(transaction=False) as pipe:
        for words in many:
            pipe.fcall(function, 0, *words)
        found: list[Any] = pipe.execute(raise_on_error=False)
        return found


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


