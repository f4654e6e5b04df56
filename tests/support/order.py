"""Which test process takes which files, and in what order: what needs the same stack stays together and begins first."""

from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

STACK: Final = "tests/stack/"
OWN_STACK: Final = ("test_discord_lane.py", "test_restore_guide.py", "test_wheel.py")
"""Files of that folder that start stacks of their own: they gain nothing from being beside the others."""
LAST: Final = ("tests/web/", "tests/wire/")
"""Many short files: with them at the end no process is long alone with its last one."""


def unit(test: str) -> str:
    """Name what a test is handed out with: its file, or all that share the one stack."""
    file = test.partition("::")[0]
    shared = file.startswith(STACK) and not file.endswith(OWN_STACK)
    return STACK if shared else file


def turn(item: pytest.Item) -> int:
    """Say when a test begins; those of the same number begin in the order in which they were found."""
    return 0 if unit(item.nodeid) == STACK else 2 if item.nodeid.startswith(LAST) else 1


class ByNeed(LoadFileScheduling):
    """File by file, but the files that share a stack as one: each process that took some started a stack for them."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
