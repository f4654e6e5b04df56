"""How tasks are tried again while a server they need is away."""

from typing import Any, Final

from app.core import redis
from app.wire.errors import Unavailable

AGAIN: Final[dict[str, Any]] = {
    "autoretry_for": (Unavailable, *redis.ERRORS),
    "retry_backoff": 1,
    "retry_backoff_max": 15,
    "retry_jitter": True,
    "max_retries": None,
}
"""Task options: back off from 1 to 15 seconds, for as long as it takes; what a person waits for is never given up here."""
