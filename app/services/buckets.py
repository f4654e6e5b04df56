"""Counting how long things took: into which bucket a time falls, and which time a share of them stayed below."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

BOUNDS: Final = tuple(
    float(step * 10**power) for power in range(1, 6) for step in (1, 1.5, 2, 3, 5, 7) if step * 10**power <= 300_000
)
"""Milliseconds, 10 ms to 5 min. A time below the first is in bucket 0, one from the last on in the last bucket."""


def bucket(milliseconds: float) -> int:
    """Return the bucket of a time, as PostgreSQL's width_bucket counts them."""
    return bisect_right(BOUNDS, milliseconds)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the milliseconds that `share` of the counted times stayed below; None where none was counted.

    Within a bucket they are taken to lie evenly, so that it is off by half a bucket (a sixth to a quarter) at most.
    """
    rest = sum(counts) * share
    if not rest:
        return None
    edges = (0.0, *BOUNDS, BOUNDS[-1])
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        if rest <= count:
            return low + (high - low) * rest / count
        rest -= count
    return BOUNDS[-1]
