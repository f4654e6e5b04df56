"""The two forms of a test that goes on for as long as one lets it: short in `make test`, long in `make prove`."""

import os
from typing import Final

LONG: Final = bool(os.environ.get("MEATLIZARD_LONG"))


def times(short: int, long: int) -> int:
    """Return how often, in the form that is asked for."""
    return long if LONG else short
