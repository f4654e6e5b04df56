"""Figures and counts that others report, as PostgreSQL can keep them: engines and nodes say what they like."""

from typing import Any, Final

LARGEST_COUNT: Final = 2**30 - 1
"""Half of PostgreSQL's integer: of a prompt's tokens and its reply's it adds both, and a sum that it cannot keep is an
error each time somebody asks what they have left."""
LARGEST_FIGURE: Final = 1e12
"""Milliseconds, or tokens a second, that no measurement reaches."""


def whole(value: Any) -> int:
    """Return a count as PostgreSQL can keep it; 0 where it is none."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= LARGEST_COUNT else 0


def figure(value: Any) -> float | None:
    """Return a measured figure; None where it is none, not finite or below zero."""
    return float(value) if isinstance(value, int | float) and 0 <= value < LARGEST_FIGURE else None
