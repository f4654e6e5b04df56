"""Celery's messages as they lie in Valkey, read without a worker."""

import base64
import json
from typing import Any

from redis import Redis


def lying(client: Any, queue: str) -> list[tuple[str, list[Any]]]:
    """Return name and arguments of the tasks in a queue, the next one first; they stay there."""
    return [_read(raw) for raw in reversed(client.lrange(queue, 0, -1))]


def take(client: "Redis", queue: str) -> tuple[str, list[Any]] | None:
    """Take the next task out of a queue."""
    raw: Any = client.rpop(queue)
    return _read(raw) if raw else None


def read(raw: bytes) -> tuple[str, list[Any]]:
    """Return name and arguments of a message."""
    return _read(raw)


def _read(raw: bytes) -> tuple[str, list[Any]]:
    message = json.loads(raw)
    arguments, _, _ = json.loads(base64.b64decode(message["body"]))
    return message["headers"]["task"], arguments
