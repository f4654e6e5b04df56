"""Celery's Redis transport for a node: the platform's, without the scripts that its Redis user may not run."""

from typing import Any

from redis import Redis
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

from app.stream import carrier


class OwnLock(Lock):
    """A lock on a key that only this node has: nobody can come between looking and removing, so no script is needed."""

    def register_scripts(self) -> None:
        """Register none."""

    def do_release(self, expected_token: Any) -> None:
        """Give the lock back; raise LockNotOwnedError where it ran out meanwhile."""
        if self.redis.get(self.name) != expected_token:
            raise LockNotOwnedError("the lock ran out", lock_name=str(self.name))
        self.redis.delete(self.name)


class Client(Redis):
    """A client whose locks are those."""

    def lock(self, *words: Any, **more: Any) -> Any:
        """Return a lock."""
        return super().lock(*words, **more | {"lock_class": OwnLock})


class Channel(carrier.Channel):
    """A channel that uses that client."""

    def _get_client(self) -> type[Redis]:
        return Client

    def maybe_refresh_binding_expiry(self) -> None:
        """Refresh nothing: a node's one queue does not run out."""


class Transport(carrier.Transport):
    """The transport with those channels."""

    Channel = Channel


def use() -> None:
    """Let this process reach its broker so."""
    carrier.use(f"{__name__}:Transport")
