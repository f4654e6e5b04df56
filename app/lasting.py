"""What a process that stays does before it loads anything else, so that it is small for as long as it waits."""

import sys
from types import ModuleType
from typing import Any, Final

UNUSED: Final = ("rich", "yaml", "msgpack", "tornado", "opentelemetry")
"""What libraries load only because it is there: structlog rich (and that Pygments) for coloured tracebacks, Kombu two
forms of message that we do not send, tenacity Flower's server, redis a kind of figures that nobody asks for."""

EMPTY: Final = (
    "redis.cluster",
    "redis.asyncio.cluster",
    "redis.keyspace_notifications",
    "redis.asyncio.keyspace_notifications",
    "multiprocessing.managers",
)
"""What a library cannot be loaded without and never uses here: redis' clusters and listening for changed keys, the processes
over which boto3 can share downloads. Names suffice, and 2 MB are spared."""


class Empty(ModuleType):
    """Stands in for a module whose names are imported and never used: each is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


def spare(*needed: str) -> None:
    """Keep what is `UNUSED` or `EMPTY` from being loaded, but for what this process needs of it: 1 to 5 MB each."""
    for name in UNUSED:
        if name not in needed:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # What Python takes for "not there".
    for name in EMPTY:
        sys.modules.setdefault(name, Empty(name))
