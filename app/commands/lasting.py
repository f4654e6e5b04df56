"""What a process that stays does before it loads anything else, so that it is small for as long as it waits."""

import sys


def spare() -> None:
    """Keep rich from being loaded.

    structlog loads it, and it loads Pygments, for coloured tracebacks. Ours are plain, and a process is 3 MB smaller
    where it is not found.
    """
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # What Python takes for "not there".
