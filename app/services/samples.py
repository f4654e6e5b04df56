"""Measuring what has no event of its own: how nodes are, how long queues are."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from app.core import presence, redis
from app.services import metrics
from app.wire import figures, names

NODE_FIGURES: Final = {
    "node.memory": ("memory",),
    "node.resident": ("resident",),
    "node.heat": ("heat", "celsius", "temperature"),
    "node.speed": ("tokens_per_second",),
    "node.slots": ("slots",),
    "node.discord_wait": ("discord_wait",),
}
"""Kind of sample, and the fields of a node's beat in which it may stand."""
FIELDS: Final = ("state", *(field for fields in NODE_FIGURES.values() for field in fields))
SERVER_BOT: Final = "server-bot"
"""The process that speaks with Discord for the platform, as it calls itself."""


def take() -> int:
    """Keep one sample of each thing that can be measured now; return how many there were.

    All bear the same moment, the last full half minute, so that two who measure at once keep it once.
    """
    at = datetime.fromtimestamp(time.time() // names.SAMPLE_SECONDS * names.SAMPLE_SECONDS, UTC)
    found = [{"kind": kind, "subject": subject, "at": at, "value": value} for kind, subject, value in _all()]
    metrics.log_samples(found)
    return len(found)


def _all() -> Iterator[tuple[str, str, float]]:
    client = redis.client()
    known = sorted(name.decode() for name in client.smembers(names.NODES))
    with client.pipeline(transaction=False) as pipe:
        for name in known:
            pipe.hmget(names.node_key(name), FIELDS)
            pipe.scard(names.node_leases(name))
        answers = pipe.execute()
    for name, beat, busy in zip(known, answers[::2], answers[1::2], strict=True):
        # A node writes there what it likes, and may be a stolen one: no word of it may cost the others their figures.
        said = {field: value.decode(errors="replace") for field, value in zip(FIELDS, beat, strict=True) if value is not None}
        yield "node.up", name, float(said.get("state") == "ready")
        yield "node.busy", name, float(busy)
        for kind, fields in NODE_FIGURES.items():
            if (value := figure(said, fields)) is not None:
                yield kind, name, value
    for name, length in queues().items():
        yield "queue.length", name, float(length)
    if bots := [one["discord_waits"][1] for one in presence.processes() if one["process"] == SERVER_BOT]:
        yield "process.discord_wait", SERVER_BOT, float(sum(bots))



def figure(said: dict[str, Any], fields: tuple[str, ...]) -> float | None:
    """Return the first of these fields that holds a figure; what is none, such as "nan", would spoil every sum it is in."""
    for field in fields:
        try:
            if (found := figures.figure(float(said[field]))) is not None:
                return found
        except (KeyError, ValueError):
            continue
    return None


def queues() -> dict[str, int]:
    """Return how many turns wait and run, and how many tasks and figures wait for a worker."""
    client = redis.client()
    listed = (*names.PLATFORM_QUEUES, names.RELAY)
    with client.pipeline(transaction=False) as pipe:
        pipe.scard(names.WAITING)
        pipe.zcard(names.LEASES)
        pipe.xlen(names.FIGURES)
        for queue in listed:
            pipe.llen(queue)
        waiting, running, figures, *lengths = pipe.execute()
    return {"waiting": waiting, "running": running, "figures": figures} | dict(zip(listed, lengths, strict=True))
