"""The states of a turn, the kinds of its events, the lanes and the doors."""

from enum import StrEnum


class TurnState(StrEnum):
    """Where a turn stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Say whether nothing can follow this state."""
        return self in (TurnState.DONE, TurnState.FAILED, TurnState.CANCELLED)


class EventKind(StrEnum):
    """What an entry of a turn's stream says."""

    QUEUED = "queued"
    STARTED = "started"
    DELTA = "delta"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Say whether the stream ends with this event."""
        return self in (EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED)


class Lane(StrEnum):
    """How a turn reaches a node and comes back."""

    QUEUE = "queue"
    DISCORD = "discord"


class Role(StrEnum):
    """Whose words a message carries, as chat models name them."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Door(StrEnum):
    """Where a turn or an act came in."""

    WEB = "web"
    DISCORD = "discord"
    API = "api"
    CLI = "cli"
    NODE = "node"
    BEAT = "beat"


class Verdict(StrEnum):
    """What Redis answers to a node that appends or renews."""

    GO = "go"
    STALE = "stale"
    """A newer attempt holds the fence: say no more."""
    STOP = "stop"
    """A person pressed stop: end with the text so far."""
    UNKNOWN = "unknown"
    """Redis has lost the turn: seed the stream again from byte 0."""
    CLOSED = "closed"
    """The turn is in PostgreSQL: nothing is left to do."""
    REPEAT = "repeat"
    """This attempt was begun before: the task was delivered twice."""
