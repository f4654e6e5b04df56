"""The node: one engine, one loop that nothing blocks, and every turn it works at."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from app.stream.append import Appender
from app.stream.hub import LOST, Hub
from app.wire import names
from app.wire.errors import EnvelopeError
from app.wire.jobs import Job, Outcome
from app.wire.states import Verdict
from workers.inference.attempt import Attempt
from workers.inference.engine import Engine, EngineError
from workers.inference.settings import NodeSettings
from workers.inference.writer import Writer

log = structlog.get_logger(__name__)

STATE_POLL_SECONDS: Final = 0.2
CONFIRM_SECONDS: Final = 1.0
"""How often a finished turn is asked for whether PostgreSQL has it."""
RESEND_EVERY: Final = 5
"""After so many questions its outcome is sent again: the broker may have lost it."""
GIVE_UP_AFTER: Final = 900
"""Questions after which a node lets go of a finished turn; the platform has been away for a quarter of an hour."""

Enqueue = Callable[..., None]
"""Sends a task by name: `enqueue(task, *args)`; blocks for about a millisecond, so it is called in a thread."""


class Node:
    """Runs jobs on the engine and brings their replies home."""

    def __init__(self, settings: NodeSettings, enqueue: Enqueue) -> None:
        self.settings: Final = settings
        self.engine: Final = Engine(settings.engine())
        self._enqueue: Final = enqueue
        self._attempts: Final[dict[str, Attempt]] = {}
        self._delivering: Final[set[asyncio.Task[None]]] = set()
        self._draining = False
        self._loop: Final = asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, name="node", daemon=True)
        self._service: asyncio.Task[None] | None = None
        self._was_ready = False

    # Called from Celery's threads.

    def start(self) -> None:
        """Start the loop, and on it the engine and everything that goes on beside the turns."""
        self._thread.start()
        self.call(self._begin())

    def stop(self) -> None:
        """End everything; turns that are still at work are handed on."""
        self.call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def drain(self) -> None:
        """Take no more turns, and hand on those that do not end soon."""
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop)

    def generate(self, turn: str, attempt: int, envelope: str) -> None:
        """Run one job; returns when its outcome is on its way."""
        self.call(self._run(turn, attempt, envelope))

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # On the loop.

    async def _begin(self) -> None:
        url = self.settings.redis_url.get_secret_value()
        pool = BlockingConnectionPool.from_url(
            url, max_connections=8, timeout=5, socket_timeout=5, socket_connect_timeout=3, health_check_interval=15
        )
        self._redis = Redis(connection_pool=pool)
        self._appender = Appender(self._redis)
        self._writer = Writer(self._appender)
        self._hub = Hub(Redis.from_url(url, socket_timeout=None, socket_connect_timeout=3))
        self._service = asyncio.create_task(self._serve())
        self._starting = asyncio.create_task(self._start_engine())

    async def _start_engine(self) -> None:
        try:
            await self.engine.start()
        except EngineError as error:
            # The node stays and says so in its beat: whoever looks after it reads why in `status` and mends it.
            log.error("engine.failed", error=str(error))

    async def _serve(self) -> None:
        async with self._hub.running(), asyncio.TaskGroup() as group:
            group.create_task(self._writer.run())
            group.create_task(self._beat())
            group.create_task(self._hear_stops())

    async def _finish(self) -> None:
        await self._drain()
        if self._delivering:
            await asyncio.wait(self._delivering, timeout=2)
        if self._service:
            self._service.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._service
        self._starting.cancel()
        await self.engine.stop()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(names.node_key(self.settings.node))
        await self._redis.aclose()

    async def _drain(self) -> None:
        self._draining = True
        with contextlib.suppress(RedisError, OSError):
            await self._tell()
        waited = 0.0
        while self._attempts and waited < self.settings.drain_seconds:
            await asyncio.sleep(0.05)
            waited += 0.05
        for attempt in self._attempts.values():
            attempt.move()

    async def _run(self, turn: str, number: int, envelope: str) -> None:
        try:
            job = Job.open(envelope, self.settings.keys, turn, number)
        except EnvelopeError as error:
            log.warning("job.refused", turn=turn, attempt=number, error=str(error))
            return
        verdict = await self._appender.begin(turn, number, job.leased_ms)
        if verdict not in (Verdict.GO, Verdict.STOP):
            log.info("job.dropped", turn=turn, attempt=number, why=verdict)
            return
        attempt = Attempt(job, self.settings.keys, self.settings.node, self.engine, self._writer)
        if verdict is Verdict.STOP:
            attempt.stop()
        self._attempts[turn] = attempt
        self._writer.open(attempt.reply)
        try:
            outcome = await attempt.run()
        finally:
            del self._attempts[turn]
        if outcome is None:
            self._writer.close(attempt.reply)
            return
        await self._send(attempt, outcome)
        delivery = asyncio.create_task(self._deliver(attempt, outcome))
        self._delivering.add(delivery)
        delivery.add_done_callback(self._delivering.discard)

    async def _send(self, attempt: Attempt, outcome: Outcome) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._writer.flush()
        job = attempt.job
        envelope = outcome.seal(self.settings.keys, job.session)
        try:
            await asyncio.to_thread(self._enqueue, names.FINISH, job.turn, job.attempt, self.settings.node, envelope)
        except Exception as error:
            # Whatever keeps it from the broker now, it is sent again until the platform confirms.
            log.warning("outcome.waits", turn=job.turn, attempt=job.attempt, error=str(error))

    async def _deliver(self, attempt: Attempt, outcome: Outcome) -> None:
        """Keep an outcome until PostgreSQL has it: the lease is renewed and the task sent again until then."""
        reply = attempt.reply
        try:
            for asked in range(1, GIVE_UP_AFTER):
                await asyncio.sleep(CONFIRM_SECONDS)
                try:
                    verdict = await self._appender.append(reply.turn, reply.attempt)
                    if verdict is Verdict.UNKNOWN:
                        await self._appender.seed(reply.turn, reply.attempt, reply.everything())
                except (RedisError, OSError):
                    continue
                if verdict in (Verdict.CLOSED, Verdict.STALE):
                    return
                if asked % RESEND_EVERY == 0 or verdict is Verdict.UNKNOWN:
                    await self._send(attempt, outcome)
            log.error("outcome.lost", turn=reply.turn, attempt=reply.attempt)
        finally:
            self._writer.close(reply)

    async def _hear_stops(self) -> None:
        async with self._hub.listen(names.node_control(self.settings.node)) as listener:
            while True:
                message = await listener.get()
                if message == LOST:
                    continue  # The next flush of each reply hears of it anyway.
                command, _, turn = message.decode(errors="replace").partition(" ")
                if command == "stop" and turn in self._attempts:
                    self._attempts[turn].stop()

    async def _beat(self) -> None:
        told, at = "", 0.0
        while True:
            # Told at once where it changes, so that turns neither wait for a node that is up nor go to one that is down.
            if self._state() != told or time.monotonic() - at >= names.BEAT_SECONDS:
                try:
                    told, at = await self._tell(), time.monotonic()
                except (RedisError, OSError) as error:
                    log.warning("beat.missed", error=str(error))
            await asyncio.sleep(STATE_POLL_SECONDS)

    def _state(self) -> str:
        return "draining" if self._draining else self.engine.health().state

    async def _tell(self) -> str:
        health, state = self.engine.health(), self._state()
        beat: dict[Any, Any] = {
            "state": state,
            "slots": self.settings.slots,
            "lane": "queue",
            "model": health.model,
            "tokens_per_second": health.tokens_per_second or "",
            "memory": health.memory or 0,
            "restarts": health.restarts,
            "error": health.last_error or "",
        }
        key = names.node_key(self.settings.node)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=beat)
            pipe.expire(key, names.NODE_TTL_SECONDS)
            await pipe.execute()
        ready = state == "ready"
        if ready and not self._was_ready:
            await asyncio.to_thread(self._enqueue, names.DISPATCH)
        self._was_ready = ready
        return state
