"""Celery's Redis transport for a node: the platform's, without what costs a round trip or what its Redis user may not do."""

from typing import Any

from app.stream import carrier


class QoS(carrier.QoS):
    """What was taken and is not done: nothing, since what is taken is taken for good."""

    def ack(self, delivery_tag: str) -> None:
        """Note nothing."""

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put nothing back: a turn that its node does not begin goes to another when its lease runs out."""

    def restore_visible(self, *words: Any, **more: Any) -> None:
        """Look for nothing that others have held for too long."""


class Channel(carrier.Channel):
    """A channel that takes its messages for good.

    To write down first what was taken would be a round trip before each first token, and of no use: a job is good for as
    long as its lease, and what a dead node had taken would come back after many of those (docs/decisions/0038).
    """

    QoS = QoS

    def basic_consume(self, queue: str, no_ack: bool, *words: Any, **more: Any) -> Any:
        """Take what comes into a queue."""
        return super().basic_consume(queue, True, *words, **more)  # type: ignore[no-untyped-call]  # kombu has no types.

    def maybe_refresh_binding_expiry(self) -> None:
        """Refresh nothing: a node's one queue does not run out."""


class Transport(carrier.Transport):
    """The transport with those channels."""

    Channel = Channel


def use() -> None:
    """Let this process reach its broker so."""
    carrier.use(f"{__name__}:Transport")
