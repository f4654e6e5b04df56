"""One Pub/Sub connection for a whole process, shared by everyone who listens in it."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, wait_random_exponential

log = structlog.get_logger(__name__)

QUEUE_LENGTH: Final = 256
"""Messages a listener may lag behind before it is cut loose and has to catch up from the stream."""
HEALTH_SECONDS: Final = 5
"""How often a silent connection is asked whether it is still there: half-open ones say nothing for ever."""

OWN_CHANNEL: Final = "ml:hub"

LOST: Final = b""
"""What a listener finds instead of a message when some may have been missed: read the stream again."""


class Listener:
    """The messages of one channel, for one reader."""

    def __init__(self) -> None:
        self._messages: Final[deque[bytes]] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._lost = False

    def put(self, message: bytes) -> None:
        """Hand over a message; a reader that is too slow gets one LOST mark instead of them all."""
        if self._lost:
            return
        if message == LOST or len(self._messages) >= QUEUE_LENGTH:
            self._lost = True
            self._messages.clear()
            message = LOST
        self._messages.append(message)
        self.wake()

    def wake(self) -> None:
        """Let the reader look again, whether or not there is a message."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> bytes:
        """Return the next message, or LOST."""
        while (message := await self.get_or_wake()) is None:
            continue
        return message

    async def get_or_wake(self) -> bytes | None:
        """Return the next message, or LOST, or None where somebody called `wake` meanwhile."""
        if not self._messages:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if not self._messages:
            return None
        message = self._messages.popleft()
        if message == LOST:
            self._lost = False
        return message


async def _as_it_is(response: Any) -> Any:
    return response


def _at_hand(pubsub: Any) -> Iterator[Any]:
    """Yield what came together with the last message and is not looked at yet.

    A node publishes for all its turns at once. The library hands out one message at a time, with a timer and a dozen calls
    around each; where it is made otherwise one day, it goes on doing so.
    """
    reader = getattr(getattr(pubsub.connection, "_parser", None), "_reader", None)
    if not isinstance(reader, hiredis.Reader):
        return
    while True:
        response = reader.gets()
        if isinstance(response, Exception):
            raise response
        if isinstance(response, list):
            yield response
        elif not isinstance(response, bytes):  # An answer to a ping is of no use to anybody any more.
            return


class Hub:
    """Subscribes to channels for listeners; start it once in each process with `run`."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Final = redis
        self._listeners: Final[dict[str, set[Listener]]] = {}
        self._acknowledged: Final[dict[str, asyncio.Event]] = {}
        self._asked: Final[dict[str, int]] = {}
        """Subscriptions of a channel that Redis has not acknowledged yet; the last one is the one that counts."""
        self._cut: Final[set[str]] = set()
        """Channels whose subscription was lost and is not acknowledged again."""
        self._pubsub: Any = None
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Hub"]:
        """Keep the connection for as long as the block runs."""
        self._task = asyncio.create_task(self._run(), name="hub")
        try:
            yield self
        finally:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Listener]:
        """Listen to a channel; inside the block the subscription is acknowledged, so that nothing published is missed."""
        listener = Listener()
        self._listeners.setdefault(channel, set()).add(listener)
        try:
            await self._subscribed(channel)
            yield listener
        finally:
            rest = self._listeners.get(channel)
            if rest is not None:
                rest.discard(listener)
                if not rest:
                    del self._listeners[channel]
                    self._acknowledged.pop(channel, None)
                    await self._send("unsubscribe", channel)

    async def _subscribed(self, channel: str) -> None:
        acknowledged = self._acknowledged.get(channel)
        if acknowledged is None:
            acknowledged = self._acknowledged[channel] = asyncio.Event()
            await self._send("subscribe", channel)
        await acknowledged.wait()

    async def _send(self, command: str, channel: str) -> None:
        pubsub = self._pubsub
        if pubsub is None:
            return  # The next connection subscribes to everything that is listened to by then.
        if command == "subscribe":
            self._asked[channel] = self._asked.get(channel, 0) + 1
        try:
            with contextlib.suppress(RedisError, OSError):
                await getattr(pubsub, command)(channel)
        finally:
            if self._pubsub is not pubsub:
                # Given up while this waited: the client library has connected it anew on its own, subscribed to all that
                # it ever was, and nobody would read from it or close it.
                with contextlib.suppress(RedisError, OSError):
                    await pubsub.aclose()

    async def _run(self) -> None:
        while True:  # Once for each outage, so that the pauses begin small again after each.
            async for attempt in AsyncRetrying(wait=wait_random_exponential(multiplier=0.1, max=5)):
                with attempt:
                    began = time.monotonic()
                    try:
                        await self._connected()
                    except (RedisError, OSError) as error:
                        log.warning("pubsub.lost", error=str(error))
                        if time.monotonic() - began < HEALTH_SECONDS:
                            raise
                    finally:
                        self._pubsub = None
                        self._mark_lost()

    async def _connected(self) -> None:
        pubsub = self._redis.pubsub(push_handler_func=_as_it_is)  # Else each message is written out for a log that nobody keeps.
        try:
            # A subscription of our own keeps the connection open while nobody listens to anything.
            first = list(self._listeners)
            self._asked.clear()
            self._asked.update(dict.fromkeys(first, 1))
            await pubsub.subscribe(OWN_CHANNEL, *first)
            self._pubsub = pubsub
            for channel in self._listeners.keys() - set(first):  # Those who came while the line above waited.
                await self._send("subscribe", channel)
            await self._tidy(pubsub)
            silent = False
            while True:
                message = await pubsub.get_message(timeout=HEALTH_SECONDS)
                if message is None:
                    if silent:
                        raise RedisConnectionError("no answer to a ping")
                    silent = True
                    await self._tidy(pubsub)
                    await pubsub.ping()
                    continue
                silent = False
                self._handle(message)
                for more in _at_hand(pubsub):
                    if more[0] == b"message":
                        self._pass_on(more[1].decode(), more[2])
                    elif told := await pubsub.handle_message(more):  # type: ignore[no-untyped-call]
                        self._handle(told)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _tidy(self, pubsub: Any) -> None:
        """Let go of channels that nobody listens to: whoever left while there was no connection could not say so."""
        for channel in [one.decode() for one in pubsub.channels]:
            if channel not in self._listeners and channel != OWN_CHANNEL:
                await pubsub.unsubscribe(channel)

    def _handle(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in ("subscribe", "message"):
            return
        channel = message["channel"].decode()
        if kind == "subscribe":
            self._subscribed_again_or_first(channel)
            return
        self._pass_on(channel, message["data"])

    def _pass_on(self, channel: str, message: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            listener.put(message)

    def _subscribed_again_or_first(self, channel: str) -> None:
        asked = self._asked.pop(channel, 0)
        if asked > 1:
            self._asked[channel] = asked - 1
            return
        if channel in self._cut or not asked:
            # What was published between the loss and this moment nobody has heard. An answer that was not asked for
            # is the client library's own: it has made a new connection without a word.
            self._cut.discard(channel)
            for listener in self._listeners.get(channel, ()):
                listener.put(LOST)
        if channel in self._acknowledged:
            self._acknowledged[channel].set()

    def _mark_lost(self) -> None:
        self._cut.clear()
        self._cut.update(self._listeners)
        for channel, listeners in self._listeners.items():
            self._acknowledged.setdefault(channel, asyncio.Event()).clear()
            for listener in listeners:
                listener.put(LOST)
