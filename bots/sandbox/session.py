"""One gateway session: what a bot has been told, in order, so that it can be told again after a lost connection."""

import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

REPLAY: Final = 5_000
"""Events kept for a resume; Discord does not say how many it keeps."""


class Link(Protocol):
    """The connection a session talks through at the moment."""

    def send(self, text: str) -> None:
        """Send a payload, in order, without waiting for it."""
        ...


@dataclass(slots=True)
class Session:
    """From READY until nobody resumes it any more."""

    bot: int
    intents: int
    shard: tuple[int, int] = (0, 1)
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    sequence: int = 0
    link: Link | None = None
    left: float | None = None
    """When the connection was lost."""
    seen: set[int] = field(default_factory=set)
    """Channels and threads it has been told of."""
    held: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """Events kept back to come behind the next one."""
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=REPLAY))

    def dispatch(self, event: str, data: Mapping[str, Any]) -> None:
        """Number an event, keep it for a resume, and send it if there is a connection."""
        self.sequence += 1
        text = json.dumps({"op": 0, "t": event, "s": self.sequence, "d": data}, separators=(",", ":"))
        self.events.append((self.sequence, text))
        if self.link is not None:
            self.link.send(text)

    def missed(self, since: int) -> list[str] | None:
        """What came after a sequence number; None when that is no longer known."""
        if since < self.sequence and (not self.events or self.events[0][0] > since + 1):
            return None
        return [text for number, text in self.events if number > since]

    def has_guild(self, guild: int) -> bool:
        """Whether this session's shard carries a guild (docs: events/gateway, Sharding)."""
        return (guild >> 22) % self.shard[1] == self.shard[0]
