"""One kind of fault that can be done to a running platform."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.faults.stage import SERVERS

OF_NODES: Final = ("node", "llama.cpp")
"""Of these there are several, one like the other."""


@dataclass(frozen=True)
class Injection:
    """One kind of fault; `act` gets how long it may last, and returns when its hand is off."""

    kind: str
    target: str
    """What is hurt: never twice at once."""
    act: Callable[[float], Awaitable[None]]

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.target}"

    @property
    def sort(self) -> str:
        """The kind and what it is done to, whichever node of several."""
        of_nodes = (one for one in OF_NODES if self.target.startswith(one))
        return f"{self.kind}: {next(of_nodes, self.target)}"

    @property
    def shared(self) -> bool:
        """Whether everybody feels it, so that two of its sort at once would leave nothing to test."""
        return self.target in (*SERVERS, "web", "worker")
