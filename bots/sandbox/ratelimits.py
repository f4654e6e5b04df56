"""Rate limits: buckets by route and resource, the global limit, and the ban for invalid requests (docs: topics/rate-limits)."""

import hashlib
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from bots.sandbox.clock import Clock

BUCKETS: Final[dict[str, tuple[int, float]]] = {
    # Discord publishes no numbers and wants none hard-coded; these are what bots observe.
    "message create": (5, 5.0),
    "message edit": (5, 5.0),
    "message delete": (5, 1.0),
    "message delete bulk": (1, 3.0),
    "message read": (5, 1.0),
    "typing": (5, 5.0),
    "channel create": (10, 10.0),
    "channel edit": (5, 5.0),
    "channel rename": (2, 600.0),
    "channel delete": (10, 10.0),
    "overwrite": (10, 10.0),
    "thread create": (50, 300.0),
    "role": (10, 10.0),
    "member": (10, 10.0),
    "command sync": (5, 20.0),
    "follow-up": (5, 2.0),
    "dm create": (10, 10.0),
    # Edits of messages older than an hour have a limit of their own (30046); its number is nowhere said.
    "old edit": (30, 3600.0),
}
"""Requests and seconds, by name of the bucket."""
OTHER: Final = (50, 1.0)
"""Every other route."""
GLOBAL: Final = 50
"""Requests a second and bot (docs: Global Rate Limit)."""
INVALID: Final = (10_000, 600.0)
"""Answers with 401, 403 or 429 in ten minutes, after which the address is shut out (docs: Invalid Request Limit)."""
BAN: Final = 600.0
"""Seconds an address stays shut out; Discord says "temporarily"."""


@dataclass(slots=True)
class _Window:
    opens: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request costs: the headers to send, and how long to wait when it was one too many."""

    headers: dict[str, str]
    retry_after: float | None = None
    everywhere: bool = False


class Limits:
    """Windows that open with the first request and are new when their time is over."""

    def __init__(self, clock: Clock, *, on: bool, buckets: dict[str, tuple[int, float]]) -> None:
        self.on = on
        self._clock = clock
        self._sizes = BUCKETS | buckets
        self._windows: dict[tuple[str, str, str], _Window] = {}
        self._invalid: dict[str, deque[float]] = {}
        self._banned: dict[str, float] = {}

    def take(self, who: str, bucket: str, resource: str) -> Verdict:
        """Count a request of a bot against a bucket and its resource (channel, guild or webhook)."""
        limit, seconds = self._sizes.get(bucket, OTHER) if self.on else (1000, 1.0)
        now = self._clock.time()
        window = self._open((who, bucket, resource), now, seconds)
        over = self.on and window.used >= limit
        if not over:
            window.used += 1
        left = max(0.001, window.opens + seconds - now)
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - window.used)),
            "X-RateLimit-Reset": f"{now + left:.3f}",
            # Rounded up: who waits that long is never early.
            "X-RateLimit-Reset-After": f"{math.ceil(left * 1000) / 1000:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(bucket.encode()).hexdigest()[:32],
        }
        return Verdict(headers, retry_after=left if over else None)

    def take_global(self, who: str) -> Verdict:
        """Count a request of a bot against all it may do in a second."""
        if not self.on:
            return Verdict({})
        now = self._clock.time()
        window = self._open((who, "global", ""), now, 1.0)
        if window.used >= GLOBAL:
            return Verdict({}, retry_after=max(0.001, window.opens + 1.0 - now), everywhere=True)
        window.used += 1
        return Verdict({})

    def _open(self, key: tuple[str, str, str], now: float, seconds: float) -> _Window:
        window = self._windows.get(key)
        if window is None or now >= window.opens + seconds:
            window = self._windows[key] = _Window(now)
            if len(self._windows) > 10_000:
                # The longest window lasts ten minutes.
                self._windows = {one: kept for one, kept in self._windows.items() if kept.opens > now - 600.0}
        return window

    def banned(self, address: str) -> float | None:
        """How many seconds an address stays shut out."""
        left = self._banned.get(address, 0.0) - self._clock.time()
        return left if left > 0 else None

    def count_invalid(self, address: str, times: int = 1) -> None:
        """Count an answer with 401, 403 or 429 (shared limits are not counted)."""
        if not self.on:
            return
        most, seconds = INVALID
        now = self._clock.time()
        seen = self._invalid.setdefault(address, deque())
        seen.extend([now] * times)
        while seen and seen[0] <= now - seconds:
            seen.popleft()
        if len(seen) >= most:
            self._banned[address] = now + BAN
            seen.clear()

    def invalid(self, address: str) -> int:
        """How many invalid requests are held against an address."""
        return len(self._invalid.get(address, ()))

    def forgive(self) -> None:
        """Open every window and lift every ban."""
        self._windows.clear()
        self._invalid.clear()
        self._banned.clear()
