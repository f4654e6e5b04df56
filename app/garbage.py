"""Sparing the garbage collector what a process is made of: it stays to the end."""

import gc
from typing import Final

YOUNG: Final = 5_000
"""So many new objects are looked through at once, instead of 700: nearly all of a message's are gone by then anyway."""


def spare() -> None:
    """Look no more through what there is now. To be called once, when a process has loaded what it works with.

    Libraries, routes and tables are 80,000 to 160,000 objects. Looking through all of them takes 40 to 80 ms, in which no thread
    of the process does anything, and many replies at once make it happen every few seconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
