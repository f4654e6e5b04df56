"""Forgetting what the platform's code keeps for the life of a process, so that each test is a process of its own."""

import contextlib
import functools
import sys

from app.core import db, redis

LASTING = ("app.wire",)
"""Pure functions: what they keep is the same in every test."""
CACHED = functools._lru_cache_wrapper
"""What `cache` and `lru_cache` make; to ask everything for a `cache_clear` took most of the time."""


def forget() -> None:
    """Close what is open and clear every cache of the platform's modules, those of tomorrow included."""
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    if db._single.cache_info().currsize:
        for soft in (False, True):
            db._single(soft).dispose()
    if redis.client.cache_info().currsize:
        with contextlib.suppress(*redis.ERRORS):
            redis.client().connection_pool.disconnect()
    for name, module in list(sys.modules.items()):
        if name.startswith("app.") and not name.startswith(LASTING):
            for value in list(vars(module).values()):
                if isinstance(value, CACHED):
                    value.cache_clear()
