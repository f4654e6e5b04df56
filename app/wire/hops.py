"""The hops of a turn: which there are, who stamps them, and what lies between one and the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SENT: Final = "sent"
RECEIVED: Final = "received"
KEPT: Final = "kept"
LEASED: Final = "leased"
DISPATCHED: Final = "dispatched"
ARRIVED: Final = "arrived"
READING: Final = "reading"
FIRST: Final = "first"
LAST: Final = "last"
FINISHING: Final = "finishing"
ENDED: Final = "ended"
RELAYED: Final = "relayed"
PAINTED: Final = "painted"
TOLD: Final = "told"
SHOWN: Final = "shown"
WHO: Final = {
    SENT: "browser",
    RECEIVED: "web",
    KEPT: "web",
    LEASED: "dispatch",
    DISPATCHED: "dispatch",
    ARRIVED: "node",
    READING: "node",
    FIRST: "node",
    LAST: "node",
    FINISHING: "worker",
    ENDED: "worker",
    RELAYED: "web",
    PAINTED: "browser",
    TOLD: "web",
    SHOWN: "browser",
}
"""Every stamp and who makes it; each is in milliseconds since 1970 on Redis' clock, as its maker knows that clock."""
FROM_NODE: Final = frozenset({LEASED, DISPATCHED, ARRIVED, READING, FIRST, LAST})
"""What a node may say: its own, and what its job told it."""
EARLIEST: Final = 1.5e12
LATEST: Final = 1e13


@dataclass(frozen=True, slots=True)
class Step:
    """What happens between two stamps; where one was never made, the next of its list stands in for it."""

    name: str
    where: str
    begins: tuple[str, ...]
    ends: tuple[str, ...]


STEPS: Final = (
    Step("The prompt comes in", "browser → web", (SENT,), (RECEIVED,)),
    Step("Kept", "web → PostgreSQL", (RECEIVED,), (KEPT,)),
    Step("Waits for a slot", "queue", (KEPT,), (LEASED,)),
    Step("Made ready and sealed", "dispatch", (LEASED,), (DISPATCHED,)),
    Step("Goes to the node", "broker or Discord", (DISPATCHED,), (ARRIVED,)),
    Step("Taken up, fitted", "node", (ARRIVED,), (READING,)),
    Step("Reads the prompt", "llama.cpp", (READING,), (FIRST,)),
    Step("First words shown", "node → web → browser", (FIRST,), (PAINTED, RELAYED)),
    Step("Writes the reply", "llama.cpp", (FIRST,), (LAST,)),
    Step("The outcome comes back", "node → worker", (LAST, ARRIVED), (FINISHING,)),
    Step("Written down", "worker → PostgreSQL", (FINISHING,), (ENDED,)),
    Step("Shown as finished", "worker → web → browser", (ENDED,), (SHOWN, TOLD)),
)


def sound(hops: Any, allowed: Mapping[str, Any] | frozenset[str] = WHO) -> dict[str, float]:
    """Return of what somebody says only the stamps that they may make and that can be a time."""
    if not isinstance(hops, Mapping):
        return {}
    return {
        name: round(float(at), 1)
        for name, at in hops.items()
        if name in allowed and isinstance(at, int | float) and EARLIEST < at < LATEST
    }
