"""The node: one engine, one loop that nothing blocks, every turn at work, and the doors by which turns come in."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
import uvloop
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from app.stream.growing import GrowingReply
from app.wire.errors import EnvelopeError
from app.wire.jobs import Job, Outcome
from app.wire.names import BEAT_SECONDS
from app.wire.states import Verdict
from workers.inference import keyring, machine
from workers.inference.attempt import Attempt
from workers.inference.awake import Awake
from workers.inference.engine import Engine, EngineError
from workers.inference.machine import Machine
from workers.inference.settings import NodeSettings

log = structlog.get_logger(__name__)

STATE_POLL_SECONDS: Final = 0.2
ENDING_SECONDS: Final = 2.0
"""How long attempts that were told to end may take for it: the engine only has to be cut off."""
DRAINING: Final = "draining"


class Door(Protocol):
    """A way for turns to come in and for replies to go out; all of it happens on the node's loop."""

    async def serve(self) -> None:
        """Work until cancelled."""

    async def tell(self) -> None:
        """Tell the platform how the node is: it has changed. Never fails."""

    async def close(self) -> None:
        """Hand on what is done and let go; no turn is at work any more."""


@dataclass(frozen=True, slots=True)
class Health:
    """The node at one moment, as every door tells it."""

    state: str
    slots: int
    busy: int
    model: str
    tokens_per_second: float
    memory: int
    """Resident bytes of the engine; 0 where it is not ours."""
    restarts: int
    error: str
    broker: bool
    """Whether the queue lane is there: the broker takes its beats."""
    keys: tuple[str, ...]
    """The marks of the relay keys it holds, the one it seals with first."""
    machine: Machine


class Node:
    """Runs jobs on the engine, for all doors together never more than it has slots."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings: Final = settings
        self.keys: Final = keyring.load(settings)
        """The relay keys, one object for all doors."""
        self.engine: Final = Engine(settings.engine())
        self._doors: Final[list[Door]] = []
        self._attempts: Final[set[Attempt]] = set()
        self._slots: Final = asyncio.Semaphore(settings.slots)
        self.draining = False
        self.broker = False
        """Set by the queue lane's door while it reaches the broker."""
        self._machine = Machine()
        self._awake: Final = Awake()
        self._drained: asyncio.Task[None] | None = None
        # A hundred replies are thousands of packets and timers a second; uvloop handles each for a third of asyncio's own price.
        self._loop: Final = uvloop.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, name="node", daemon=True)
        self._service: asyncio.Task[None] | None = None

    # Called from outside the loop.

    def add(self, door: Door) -> None:
        """Give the node a door, before it starts."""
        self._doors.append(door)

    def start(self) -> None:
        """Start the loop, and on it the engine and the doors."""
        self._thread.start()
        self.call(self._begin())

    def stop(self) -> None:
        """End everything; turns that are still at work are handed on."""
        self.call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def drain(self) -> None:
        """Take no more turns, and hand on those that do not end soon."""
        asyncio.run_coroutine_threadsafe(self.drained(), self._loop)

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # On the loop: what doors ask for.

    def prefix(self, job: Job) -> str:
        """Return the text that an attempt at this job carries on."""
        # An engine that cannot carry a text on begins anew; the page cuts what it shows where `started` says.
        return job.prefix if self.engine.continues else ""

    async def run(self, job: Job, reply: GrowingReply) -> Outcome | None:
        """Run a job into its reply; return how it ended, or None where nobody wants it any more."""
        for older in self._attempts:
            if older.job.turn == job.turn and older.job.attempt < job.attempt:
                # It came by the other lane, which has failed since: nobody hears it, and it holds a slot.
                older.reply.hear(Verdict.STALE)
        attempt = Attempt(job, self.engine, reply, self._slots)
        self._attempts.add(attempt)
        try:
            async with self._awake.held():
                return await attempt.run()
        finally:
            self._attempts.discard(attempt)

    def health(self) -> Health:
        """Return how the node is; asks nobody."""
        engine = self.engine.health()
        return Health(
            state=DRAINING if self.draining else engine.state,
            slots=self.settings.slots,
            busy=len(self._attempts),
            model=engine.model,
            tokens_per_second=engine.tokens_per_second,
            memory=engine.memory or 0,
            restarts=engine.restarts,
            error=engine.last_error or "",
            broker=self.broker,
            keys=self.keys.marks,
            machine=self._machine,
        )

    async def adopt(self, envelope: str) -> None:
        """Take over newer relay keys, keep them for the next start, and say so; what is not for this node is dropped."""
        before = self.keys.marks
        try:
            self.keys.adopt(envelope)
        except EnvelopeError as error:
            log.warning("keys.refused", error=str(error))
            return
        if self.keys.marks != before:
            try:
                await asyncio.to_thread(keyring.keep, self.settings, self.keys)
            except OSError as error:
                log.error("keys.not_kept", error=str(error), hint="Make room: at its next start the node has the old keys.")
            log.info("keys.adopted", marks=" ".join(self.keys.marks))
        await self._tell()

    def take_no_more(self) -> None:
        """Finish what is at work, and say that nothing new is wanted."""
        self.draining = True

    async def drained(self) -> None:
        """Take no more turns; return when those at work have ended or were handed on."""
        if self._drained is None:
            self._drained = asyncio.create_task(self._drain())
        await self._drained

    # On the loop: its own.

    async def _begin(self) -> None:
        self._service = asyncio.create_task(self._serve())
        self._starting = asyncio.create_task(self._start_engine())

    async def _start_engine(self) -> None:
        try:
            await self.engine.start()
        except EngineError as error:
            # The node stays and says so in its beat: whoever looks after it reads why in `status` and mends it.
            log.error("engine.failed", error=str(error))

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            for work in (*(door.serve for door in self._doors), self._watch, self._look):
                group.create_task(_always(work))

    async def _watch(self) -> None:
        told: object = None
        while True:
            # Told at once where it changes, so that turns neither wait for a node that is up nor go to one that is down.
            health = self.health()
            if (health.state, health.broker) != told:
                told = (health.state, health.broker)
                await self._tell()
            await asyncio.sleep(STATE_POLL_SECONDS)

    async def _look(self) -> None:
        while True:
            self._machine = await asyncio.to_thread(machine.look)
            await asyncio.sleep(BEAT_SECONDS)

    async def _tell(self) -> None:
        await asyncio.gather(*(door.tell() for door in self._doors))

    async def _drain(self) -> None:
        self.draining = True
        await self._tell()
        until = time.monotonic() + self.settings.drain_seconds
        while self._attempts and time.monotonic() < until:
            await asyncio.sleep(0.05)
        for attempt in self._attempts:
            attempt.move()

    async def _finish(self) -> None:
        await self.drained()
        ending = time.monotonic() + ENDING_SECONDS
        while self._attempts and time.monotonic() < ending:
            await asyncio.sleep(0.01)
        for error in await asyncio.gather(*(door.close() for door in self._doors), return_exceptions=True):
            if error is not None:
                log.error("door.not_closed", error=str(error) or type(error).__name__)
        if self._service:
            self._service.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._service
        self._starting.cancel()
        await self.engine.stop()


async def _always(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Keep something at work: what nobody foresaw ends it for a moment, and never what goes on beside it."""
    # Fallen out for good, it would leave a node that lives, is told of by nobody and answers nobody.
    async for attempt in AsyncRetrying(wait=wait_random_exponential(multiplier=0.5, max=30), before_sleep=_stumbled):
        with attempt:
            await work()


def _stumbled(state: RetryCallState) -> None:
    log.error("node.stumbled", tried=state.attempt_number, exc_info=state.outcome.exception() if state.outcome else None)
