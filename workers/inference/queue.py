"""The queue lane's door: jobs come as Celery tasks, replies go to Redis Streams, outcomes back as tasks."""

import asyncio
import contextlib
import time
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from app.stream.append import Appender, Entry
from app.stream.clock import RedisClock
from app.stream.hub import LOST, Hub
from app.wire import hops, names, sockets
from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeError
from app.wire.events import Sealer
from app.wire.inbox import Asked, Handed
from app.wire.jobs import Job, Outcome
from app.wire.states import Lane, Verdict
from workers.inference.node import Node
from workers.inference.writer import Reply, Writer

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 0.2
"""Pause before the next try at a beat that Redis did not take: a node that is up is not to be kept waiting."""
AWAY_SECONDS: Final = 6.0
"""After so much silence of the broker the other lane is taken: two beats, so that a short break changes nothing."""
CONFIRM_SECONDS: Final = 1.0
"""How often a finished turn is asked for whether PostgreSQL has it."""
RESEND_EVERY: Final = 5
"""After so many questions its outcome is sent again: the broker may have lost it."""
GIVE_UP_AFTER: Final = 900
"""Questions after which a node lets go of a finished turn; the platform has been away for a quarter of an hour."""


class QueueDoor:
    """Brings the broker's jobs to the node and their replies home."""

    def __init__(self, node: Node, url: str, keys: NodeKeys) -> None:
        self._node: Final = node
        self._name: Final = node.settings.node
        self._keys: Final = keys
        self._replies: Final[dict[str, Reply]] = {}
        self._delivering: Final[set[asyncio.Task[None]]] = set()
        self._was_ready = False
        self._beaten = 0.0
        self._reached = 0.0
        self._clock: Final = RedisClock()
        watched: dict[str, Any] = {
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "socket_keepalive_options": sockets.OPTIONS,
        }
        pool = BlockingConnectionPool.from_url(
            url, max_connections=8, timeout=5, socket_timeout=5, health_check_interval=15, **watched
        )
        self._redis = Redis(connection_pool=pool)
        self._appender = Appender(self._redis, self._name)
        self._writer = Writer(self._appender, self._ask_to_restore)
        self._asking: Final[set[asyncio.Task[None]]] = set()
        self._hub = Hub(Redis.from_url(url, socket_timeout=None, **watched))

    def generate(self, turn: str, attempt: int, envelope: str) -> None:
        """Run one job; called from a Celery thread, returns when its outcome is on its way."""
        self._node.call(self._run(turn, attempt, envelope))

    async def serve(self) -> None:
        """Write, beat and hear stops."""
        async with self._hub.running(), asyncio.TaskGroup() as group:
            group.create_task(self._writer.run())
            group.create_task(self._beat())
            group.create_task(self._hear_stops())

    async def tell(self) -> None:
        """Beat now, or as soon as Redis is there."""
        try:
            await self._write_beat()
            self._beaten = self._reached = time.monotonic()
            self._node.broker = True
        except (RedisError, OSError) as error:
            self._beaten = 0.0
            if self._node.broker and time.monotonic() - self._reached > AWAY_SECONDS:
                self._node.broker = False
                log.warning("broker.away", error=str(error), hint="Turns come by Discord meanwhile, where the node has it.")
            log.warning("beat.missed", error=str(error))

    async def close(self) -> None:
        """Give outcomes a moment to be confirmed, and say that the node is gone."""
        if self._delivering:
            await asyncio.wait(self._delivering, timeout=2)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(names.node_key(self._name))
        await self._redis.aclose()

    async def _run(self, turn: str, number: int, envelope: str) -> None:
        arrived = round(self._clock.now() * 1000, 1)
        try:
            job = Job.open(envelope, self._keys, turn, number)
        except EnvelopeError as error:
            log.warning("job.refused", turn=turn, attempt=number, error=str(error))
            return
        structlog.contextvars.bind_contextvars(turn=turn, attempt=number, session=job.session)
        sealer = Sealer(Ring.parse(job.event_key), job.turn, job.attempt, self._name)
        reply = Reply(turn, number, sealer, self._node.prefix(job), self._clock.now)
        reply.hops[hops.ARRIVED] = arrived
        # The engine reads the prompt while Redis is asked whether it may: an answer from far away is not waited for. What
        # it writes stays here until then, and a no ends it.
        running = asyncio.create_task(self._node.run(job, reply))
        try:
            verdict = await self._begin(job)
            reply.hear(verdict)
            if verdict not in (Verdict.GO, Verdict.STOP):
                log.info("job.dropped", turn=turn, attempt=number, why=verdict)
                await running
                return
            self._replies[turn] = reply
            if reply.prefix and not await self._appender.kept(turn):
                # Redis was emptied since this attempt was leased: what it continues has to lie there again.
                reply.rewind()
            self._writer.open(reply)
            reply.wake(reply.begun)
            outcome = await running
        except BaseException:
            self._writer.close(reply)  # Else its lease would be renewed for ever.
            running.cancel()
            await asyncio.wait((running,))
            raise
        finally:
            if self._replies.get(turn) is reply:
                del self._replies[turn]
        if outcome is None:
            self._writer.close(reply)
            return
        log.info("job.ended", state=outcome.state, tokens=outcome.completion_tokens, ms=round(outcome.total_ms))
        await self._send(job, outcome)
        delivery = asyncio.create_task(self._deliver(job, reply, outcome))
        self._delivering.add(delivery)
        delivery.add_done_callback(self._delivering.discard)

    async def _begin(self, job: Job) -> Verdict:
        """Take up an attempt; after an outage the first connections may be dead ones, of which nobody knew."""
        tries = AsyncRetrying(
            retry=retry_if_exception_type((RedisError, OSError)),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            stop=stop_after_delay(names.LEASE_SECONDS / 2),
            reraise=True,
        )
        return await tries(self._appender.begin, job.turn, job.attempt, job.leased_ms)

    async def _send(self, job: Job, outcome: Outcome) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._writer.flush()
        envelope = outcome.seal(self._keys, job.session)
        try:
            await self._hand_in(Handed(Asked.FINISH, self._name, job.turn, job.attempt, envelope))
        except (RedisError, OSError) as error:
            # Whatever keeps it from Redis now, it is sent again until the platform confirms.
            log.warning("outcome.waits", turn=job.turn, attempt=job.attempt, error=str(error))

    async def _deliver(self, job: Job, reply: Reply, outcome: Outcome) -> None:
        """Keep an outcome until PostgreSQL has it: the lease is renewed and the task sent again until then."""
        try:
            for asked in range(1, GIVE_UP_AFTER):
                await asyncio.sleep(CONFIRM_SECONDS)
                try:
                    verdict = await self._appender.append(Entry(reply.turn, reply.attempt))
                except (RedisError, OSError):
                    continue
                if verdict in (Verdict.CLOSED, Verdict.STALE):
                    return
                if asked % RESEND_EVERY == 0 or verdict is Verdict.UNKNOWN:
                    await self._send(job, outcome)
            log.error("outcome.lost", turn=reply.turn, attempt=reply.attempt)
        finally:
            self._writer.close(reply)

    async def _hand_in(self, handed: Handed) -> None:
        await self._redis.lpush(names.NODES_INBOX, handed.pack())

    def _ask_to_restore(self, turn: str, attempt: int) -> None:
        task = asyncio.create_task(self._restore(Handed(Asked.RESTORE, self._name, turn, attempt)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _restore(self, handed: Handed) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._hand_in(handed)

    async def _hear_stops(self) -> None:
        async with self._hub.listen(names.node_control(self._name)) as listener:
            while True:
                message = await listener.get()
                if message == LOST:
                    continue  # The next flush of each reply hears of it anyway.
                command, _, word = message.decode(errors="replace").partition(" ")
                if command == "stop" and word in self._replies:
                    self._replies[word].hear(Verdict.STOP)
                elif command == "keys":
                    await self._node.adopt(word)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if time.monotonic() - self._beaten >= names.BEAT_SECONDS:
                await self.tell()

    async def _write_beat(self) -> None:
        health = self._node.health()
        beat: dict[Any, Any] = {
            "state": health.state,
            "keys": " ".join(health.keys),
            "slots": health.slots,
            "lane": Lane.QUEUE.value,
            "model": health.model,
            "tokens_per_second": health.tokens_per_second or "",
            "memory": health.memory,
            **health.machine.told(),
            "restarts": health.restarts,
            "error": health.error,
        }
        key = names.node_key(self._name)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping=beat)
            pipe.expire(key, names.NODE_TTL_SECONDS)
            pipe.time()
            asked = time.time()
            new, _, told = await pipe.execute()
            self._clock.note(asked, time.time(), told)
        ready = health.state == "ready"
        # Where every field is new the broker had given this node up: what came meanwhile waits, and nobody else will say so.
        if ready and (new == len(beat) or not self._was_ready):
            await self._hand_in(Handed(Asked.DISPATCH, self._name))
        self._was_ready = ready
