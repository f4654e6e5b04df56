"""The queue lane's door: the engine begins while Redis is asked whether it may, and nothing goes out before it is."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from app.stream.append import Entry
from app.wire.envelope import NodeKeys, Ring
from app.wire.jobs import Job
from app.wire.states import Verdict
from tests.support.waiting import PATIENCE
from workers.inference.queue import QueueDoor
from workers.inference.writer import Reply

KEYS = NodeKeys.of(Ring.parse(Fernet.generate_key().decode()), "home")
TURN = "0197f3a4-0000-7000-8000-000000000001"


class Asked:
    """A Redis that answers when it is told to."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.answers = asyncio.Event()
        self.said: list[Entry] = []

    async def begin(self, *_: Any) -> Verdict:
        await self.answers.wait()
        return self.verdict

    async def append_all(self, batch: Sequence[Entry]) -> list[Verdict]:
        self.said += batch
        return [Verdict.GO] * len(batch)


class Playing:
    """A node whose engine writes one word and goes on until it is told to end."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(node="home")
        self.wrote = asyncio.Event()
        self.reply: Reply | None = None

    def prefix(self, job: Job) -> str:
        return job.prefix

    async def run(self, job: Job, reply: Reply) -> None:
        self.reply = reply
        reply.start(0)
        reply.add("Yes")
        self.wrote.set()
        await reply.changed.wait()


def job() -> Job:
    key = Ring.parse(Fernet.generate_key().decode()).dump()
    return Job(TURN, 1, "session", [{"role": "user", "content": "Well?"}], event_key=key)


def opened(node: Any, asked: Asked) -> Any:
    door: Any = QueueDoor(node, "redis://127.0.0.1:9/0", KEYS)
    door._appender = door._writer._appender = asked
    return door


@pytest.mark.parametrize("verdict", [Verdict.GO, Verdict.STALE, Verdict.REPEAT])
async def test_nothing_goes_out_before_redis_says_so(verdict: Verdict) -> None:
    node, asked = Playing(), Asked(verdict)
    door = opened(node, asked)
    writing = asyncio.create_task(door._writer.run())
    running = asyncio.create_task(door._run(TURN, 1, job().seal(KEYS)))
    await node.wrote.wait()
    await door._writer.flush()
    assert not asked.said, "the engine is ahead of the answer, the page is not"
    asked.answers.set()
    if verdict is Verdict.GO:
        async with asyncio.timeout(PATIENCE):
            while not asked.said:
                await asyncio.sleep(0.001)
        assert len(asked.said[0].events) == 2, "what was written meanwhile goes out at once"
        assert node.reply
        node.reply.hear(Verdict.STALE)
    await running
    assert bool(asked.said) is (verdict is Verdict.GO)
    assert not door._replies
    assert not door._writer._replies
    writing.cancel()


class Stumbling(Playing):
    """A node that nobody foresaw."""

    async def run(self, job: Job, reply: Reply) -> None:
        raise RuntimeError("nobody foresaw this")


class Silent(Asked):
    """A Redis that does not answer."""

    async def begin(self, *_: Any) -> Verdict:
        raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize(("node", "asked"), [(Stumbling, Asked), (Playing, Silent)])
async def test_what_nobody_foresaw_holds_no_lease(node: type[Playing], asked: type[Asked]) -> None:
    redis, playing = asked(Verdict.GO), node()
    redis.answers.set()
    door = opened(playing, redis)
    with pytest.raises(RuntimeError):
        await door._run(TURN, 1, job().seal(KEYS))
    assert not door._replies
    assert not door._writer._replies
