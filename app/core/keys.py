"""Which ring opens what on the platform, all derived from the master ring."""

import os
from functools import cache, lru_cache

from dotenv import dotenv_values

from app.core import redis
from app.core.config import FILE_NAME, PREFIX, home, settings
from app.wire import names
from app.wire.envelope import NodeKeys, Ring
from app.wire.events import PLATFORM
from app.wire.jobs import event_ring

SETTING = f"{PREFIX}KEYS"


def master() -> Ring:
    """Return the master ring as it stands now: `keys rotate` changes the file while every process runs."""
    if SETTING in os.environ:
        return settings().ring
    try:
        stat = os.stat(_key_file())  # noqa: PTH116 - a microsecond, on the way of everything that is sealed
    except OSError:
        return settings().ring
    return _read(stat.st_mtime_ns, stat.st_ino) or settings().ring


@cache
def _key_file() -> str:
    return str(home() / FILE_NAME)  # Kept: to put it together takes twenty times as long as to look at it.


@lru_cache(maxsize=1)
def _read(_changed: int, _file: int) -> Ring | None:
    given = dotenv_values(_key_file(), interpolate=False).get(SETTING)
    return Ring.parse(given) if given else None


def rest(session: str) -> Ring:
    """Return the ring for what PostgreSQL keeps of a session."""
    return master().derive("rest", session)


def archive() -> Ring:
    """Return the ring for what lies in the object store: transcripts and backups, sealed in chunks."""
    return master().derive("archive")


def node(name: str) -> NodeKeys:
    """Return the relay keys of a node, first those that it has: in the middle of a rotation it may lack the newest."""
    found = NodeKeys.of(master(), name)
    return found if len(found.to_node.keys) == 1 else found.led_by(held(name))


def held(name: str) -> tuple[str, ...]:
    """Return the marks of the keys that a node says it holds; none where it says nothing."""
    try:
        said = redis.client().hget(names.node_key(name), "keys")
    except redis.ERRORS:
        return ()
    return tuple((said or b"").decode(errors="replace").split())


def hand_over(name: str) -> str:
    """Return all of a node's keys, sealed with those that it has."""
    return node(name).hand_over(NodeKeys.of(master(), name))


def node_keys(name: str) -> str:
    """Return a node's relay keys as the line its settings carry."""
    return NodeKeys.of(master(), name).dump()


def events(author: str, session: str, turn: str, attempt: int) -> Ring:
    """Return the ring of the events that a node, or the platform, makes in one attempt.

    A node gets it inside the job, and cannot derive it: so it says nothing in turns that it was not given.
    """
    if author == PLATFORM:
        return event_ring(master().derive("relay", "platform"), session, turn, attempt)
    return event_ring(master().derive("relay", author, "events"), session, turn, attempt)
