"""Celery's remote control, for a worker of the platform: it may be asked, and is told nothing."""

from typing import Final

from celery.worker.control import Panel

ASKED: Final = frozenset(
    {
        *("ping", "stats", "conf", "clock", "active", "active_queues", "registered", "reserved", "scheduled", "revoked"),
        "enable_events",  # Flower says so when it comes up; they are on anyhow.
    }
)
"""What Flower and `celery inspect` need. Whoever can write to Redis speaks on that channel: one message that tells a worker
to consume a queue no longer, or a node's, or no more often than once an hour, would be obeyed until it is started anew."""


def narrow() -> None:
    """Take every other command away from this process's worker; called before it starts."""
    for registry in (Panel.data, Panel.meta):
        for command in registry.keys() - ASKED:
            del registry[command]
