"""A node that a test plays: it takes sealed jobs from its real queue and writes what it is told, event by event."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from app.core import keys, redis
from app.services import dispatch, nodes, turns
from app.stream.append import Appender
from app.wire import names
from app.wire.envelope import Ring
from app.wire.events import Sealer
from app.wire.jobs import Job, Outcome
from app.wire.states import TurnState, Verdict
from tests.support import tasks
from tests.support.waiting import PATIENCE
from workers.inference.writer import Reply, Writer


def ready(name: str = "home", slots: int = 2, **more: Any) -> None:
    """Make a node known and let it say that it is ready; it says so for ever."""
    nodes.register(name, slots)
    beat = {"state": "ready", "slots": slots, "lane": "queue", "model": "stand-in", **more}
    redis.client().hset(names.node_key(name), mapping=beat)


def jobs(name: str = "home") -> list[Job]:
    """Take all jobs that lie in a node's queue."""
    found = []
    while task := tasks.take(redis.client(), names.inference_queue(name)):
        kind, (turn, attempt, envelope) = task
        assert kind == names.GENERATE
        found.append(Job.open(envelope, keys.node(name), turn, attempt))
    return found


def outcome(job: Job, text: str = "Because.", state: TurnState = TurnState.DONE, node: str = "home", **more: Any) -> str:
    """Seal how a job went, as its node would."""
    figures: dict[str, Any] = {"model": "stand-in", "prompt_tokens": 3, "completion_tokens": 2, "total_ms": 1000.0}
    made = Outcome.of(job.turn, job.attempt, state, text, **(figures | more))
    return made.seal(keys.node(node), job.session)


def finish(job: Job, text: str = "Because.", state: TurnState = TurnState.DONE, node: str = "home", **more: Any) -> bool:
    """Bring a job's outcome to the platform, as its worker would take it in."""
    return turns.finish(job.turn, job.attempt, node, outcome(job, text, state, node, **more))


@dataclass
class Writing:
    """One attempt that is under way."""

    node: "PlayedNode"
    job: Job
    reply: Reply

    async def begin(self) -> Verdict:
        """Take the attempt up and announce it."""
        verdict = await self.node.appender.begin(self.job.turn, self.job.attempt, self.job.leased_ms)
        self.reply.start(0)
        await self.node.writer.flush()
        return verdict

    async def say(self, *pieces: str) -> Verdict:
        """Write text, each piece an event of its own."""
        for piece in pieces:
            self.reply.add(piece)
            await self.node.writer.flush()
        return self.reply.verdict

    async def end(self, state: TurnState = TurnState.DONE, **more: Any) -> bool:
        """Bring the outcome home."""
        self.node.writer.close(self.reply)
        return await asyncio.to_thread(finish, self.job, self.reply.text, state, self.node.name, **more)


@dataclass
class PlayedNode:
    """One node; its client is the platform's own unless a narrower one is given."""

    name: str
    client: Redis
    appender: Appender = field(init=False)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.appender = Appender(self.client, self.name)
        self.writer = Writer(self.appender)

    async def come_up(self, slots: int = 2) -> None:
        """Be ready, and take what waits."""
        await asyncio.to_thread(ready, self.name, slots)
        await asyncio.to_thread(dispatch.dispatch)

    async def take(self) -> Writing:
        """Return the next job of the node's queue, as soon as there is one."""
        answer: Any = await self.client.brpop([names.inference_queue(self.name)], timeout=PATIENCE)
        assert answer, f"no job for {self.name} in {PATIENCE} s"
        _, (turn, attempt, envelope) = tasks.read(answer[1])
        job = Job.open(envelope, keys.node(self.name), turn, attempt)
        sealer = Sealer(Ring.parse(job.event_key), turn, attempt, self.name)
        reply = Reply(turn, attempt, sealer, job.prefix)
        self.writer.open(reply)
        return Writing(self, job, reply)

    async def answer(self, *pieces: str) -> Writing:
        """Take the next job and write a whole reply."""
        writing = await self.take()
        await writing.begin()
        await writing.say(*pieces)
        assert await writing.end()
        return writing
