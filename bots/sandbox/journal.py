"""What came in: every request counted by its answer, and the last bodies, so that nothing said is out of a search's reach."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

KEPT: Final = 5_000
"""Bodies kept: what was edited or deleted meanwhile is still found in them."""
LONGEST: Final = 64 * 1024
"""Characters kept of one body; files are searched where they lie."""


@dataclass(slots=True)
class Journal:
    """In memory only."""

    counts: Counter[tuple[str, str, str, int]] = field(default_factory=Counter)
    _bodies: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def count(self, who: str, method: str, path: str, status: int) -> None:
        """Count an answer."""
        self.counts[who, method, path, status] += 1

    def keep(self, path: str, body: str) -> None:
        """Keep a body."""
        self._bodies.append((path, body[:LONGEST]))

    def search(self, text: str) -> list[dict[str, Any]]:
        """Where a string stood in what came in."""
        return [{"kind": "request", "id": path} for path, body in self._bodies if text in body]

    def told(self) -> list[dict[str, Any]]:
        """The counts, for people and tests."""
        return [
            {"bot": who, "method": method, "route": path, "status": status, "count": count}
            for (who, method, path, status), count in sorted(self.counts.items())
        ]
