"""Which ring opens what on the platform, all derived from the master ring."""

from functools import lru_cache

from app.core.config import settings
from app.wire.envelope import NodeKeys, Ring
from app.wire.events import PLATFORM
from app.wire.jobs import event_ring


@lru_cache(maxsize=1)
def master() -> Ring:
    """Return the master ring."""
    return settings().ring


def rest(session: str) -> Ring:
    """Return the ring for what PostgreSQL keeps of a session."""
    return master().derive("rest", session)


def archive() -> Ring:
    """Return the ring for what lies in the object store: transcripts and backups, sealed in chunks."""
    return master().derive("archive")


def node(name: str) -> NodeKeys:
    """Return the relay keys of a node."""
    return NodeKeys.of(master(), name)


def node_keys(name: str) -> str:
    """Return a node's relay keys as the line its settings carry."""
    return node(name).dump()


def events(author: str, session: str) -> Ring:
    """Return the ring of the events that a node, or the platform, makes in a session."""
    if author == PLATFORM:
        return event_ring(master().derive("relay", "platform"), session)
    return event_ring(node(author).from_node, session)
