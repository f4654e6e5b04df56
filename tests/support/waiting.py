"""Waiting for what nobody announces: until a condition holds, or a deadline has passed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds within which anything waited for must happen, on a slow machine that is busy with other tests too."""
LOOK_SECONDS = 0.02
"""Pause between two looks: long enough to leave the processor to what is waited for."""


def until(look: Callable[[], T], seconds: float = PATIENCE, said: Callable[[], object] = lambda: "") -> T:
    """Return what `look` gives once that is true; fail with what `said` tells when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {look} {said()}")
        time.sleep(LOOK_SECONDS)
    return found


async def until_async(look: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """Do the same on an event loop."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):
            await asyncio.sleep(LOOK_SECONDS)
    return found
