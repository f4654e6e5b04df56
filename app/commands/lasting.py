"""What a process that stays does before it loads anything else, so that it is small for as long as it waits."""

import sys
from typing import Final

UNUSED: Final = ("rich", "yaml", "msgpack", "tornado", "opentelemetry")
"""What libraries load only because it is there: structlog rich (and that Pygments) for coloured tracebacks, Kombu two
forms of message that we do not send, tenacity Flower's server, redis a kind of figures that nobody asks for."""


def spare(*needed: str) -> None:
    """Keep what is `UNUSED` from being loaded, but for what this process needs of it: 2 to 5 MB each."""
    for name in UNUSED:
        if name not in needed:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # What Python takes for "not there".
