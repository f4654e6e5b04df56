"""Celery's Redis transport that lets go of what is no task, where the library's own ends the process that takes it out."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import kombu.transport
import structlog
from kombu.exceptions import InconsistencyError
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import Empty
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import RedisError, ResponseError

log = structlog.get_logger(__name__)

T = TypeVar("T")

SCHEMES: Final = ("redis", "rediss")
"""Addresses of brokers that are reached so."""
AWAY: Final = (RedisError, OSError, InconsistencyError, Empty)
"""What says nothing of the message: Redis is away or refuses, and the worker connects anew; or there was none."""
WRONG_KIND: Final = "WRONGTYPE"
ENCODINGS: Final = (None, "utf-8", "base64")
"""Of bodies."""


def use(transport: str = f"{__name__}:Transport") -> None:
    """Let this process reach its broker by this transport."""
    kombu.transport.TRANSPORT_ALIASES.update(dict.fromkeys(SCHEMES, transport))


def well_formed(message: Any) -> bool:
    """Say whether the library can read what lay in a queue as a message; what it asks for is refused later, if it is wrong."""
    match message:
        case {
            "properties": {
                "delivery_tag": str(),
                "delivery_info": {"exchange": str(), "routing_key": str()},
                **properties,
            },
            **more,
        }:
            body, encoding = more.get("body"), properties.get("body_encoding")
            return isinstance(body, str) and encoding in ENCODINGS and isinstance(more.get("headers"), dict)
    return False


def _dropped(place: str, why: str) -> None:
    # Never what it was: whatever lies in Redis may be anybody's.
    log.warning("broker.junk", place=place, why=why)


class QoS(kombu_redis.QoS):
    """What was taken and is not done: keys of another kind are thrown away, and so is what cannot be given back."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that a message was taken."""
        self._mending(lambda: super(QoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: str) -> None:
        """Forget a message that is done."""
        self._mending(lambda: super(QoS, self).ack(delivery_tag))

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget a message, or put it back."""
        self._mending(lambda: super(QoS, self).reject(delivery_tag, requeue))

    def restore_visible(self, *words: Any, **more: Any) -> None:
        """Put back what others have held for too long."""
        self._mending(lambda: super(QoS, self).restore_visible(*words, **more))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put one message back."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except AWAY:
            raise
        except Exception as error:
            _dropped(self.unacked_key, type(error).__name__)
            self._remove_from_indices(tag).execute()

    def _mending(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except ResponseError as error:
            if WRONG_KIND not in str(error):
                raise
        self.channel.drop_wrong(self.unacked_key, "hlen")
        self.channel.drop_wrong(self.unacked_index_key, "zcard")
        self.channel.drop_wrong(self.unacked_mutex_key, "strlen")
        return act()


class Channel(kombu_redis.Channel):
    """A channel whose consumer outlives whatever lies in its queues."""

    QoS = QoS
    _kept: Any = None

    def _connparams(self, *words: Any, **more: Any) -> Any:
        # The library would stumble over what is no longer there, which nobody takes for a lost connection: the worker
        # would end instead of connecting anew, and who sends would not try again.
        if self.connection is None or self.connection.client is None:
            raise Lost("The connection of this channel was closed.")
        return super()._connparams(*words, **more)

    def _create_client(self, asynchronous: bool = False) -> Any:
        # The library makes one for each message that is sent or acknowledged, with a table of some hundred commands: that
        # takes longer than the command itself, and the one before would do. It holds nothing but the pool.
        if asynchronous:
            return super()._create_client(asynchronous)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def drop_wrong(self, key: str, ask: str) -> None:
        """Delete a key that is not of the kind that a command asks of."""
        with self.conn_or_acquire() as client:
            try:
                getattr(client, ask)(key)
            except ResponseError as error:
                if WRONG_KIND not in str(error):
                    raise
                _dropped(key, WRONG_KIND)
                client.delete(key)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except ResponseError as error:
            if WRONG_KIND not in str(error):
                raise
            for queue in self.active_queues:
                self.drop_wrong(queue, "llen")
            raise Empty from error
        except AWAY:
            raise
        except Exception as error:
            _dropped("a queue", type(error).__name__)
            raise Empty from error

    def _receive_one(self, c: Any) -> Any:
        try:
            return super()._receive_one(c)
        except AWAY:
            raise
        except Exception as error:
            _dropped("a channel", type(error).__name__)
            raise Empty from error

    def _queue_bind(self, exchange: str, *words: Any) -> None:
        try:
            super()._queue_bind(exchange, *words)
        except ResponseError as error:
            if WRONG_KIND not in str(error):
                raise
            for key in (self.keyprefix_queue, self.keyprefix_binding_permanent):
                self.drop_wrong(key % (exchange,), "scard")
            super()._queue_bind(exchange, *words)


class Transport(kombu_redis.Transport):
    """The transport with those channels."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if not well_formed(message):
            _dropped(queue, "no message")
            return
        try:
            super()._deliver(message, queue)
        except AWAY:
            raise
        except Exception as error:
            # Left where it is it would hold one of the worker's hands for ever.
            _dropped(queue, type(error).__name__)
            tag = message["properties"]["delivery_tag"]
            for channel in self.channels:
                if tag in channel.qos._delivered:
                    channel.basic_reject(tag, requeue=False)
