"""An attempt ends with an outcome whatever its engine says: without one, its turn would hold a slot for ever."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from app.stream.growing import GrowingReply
from app.wire.envelope import NodeKeys, Ring
from app.wire.inbox import Asked, Handed
from app.wire.jobs import LARGEST_REPLY_BYTES, REFUSED, Job, Outcome
from app.wire.states import TurnState, Verdict
from workers.inference import attempt
from workers.inference.attempt import NOT_UNDERSTOOD, Attempt
from workers.inference.engine import End, EngineRefused, Fitted, Progress, Text, Usage


class Odd:
    """An engine that begins well and then does what no engine should."""

    def __init__(self, error: Exception | None = None, usage: Any = None) -> None:
        self.error, self.usage = error, usage

    def health(self) -> Any:
        return SimpleNamespace(model="odd")

    async def fit(self, request: Any) -> Fitted:
        return Fitted(request, 0)

    async def generate(self, request: Any) -> AsyncIterator[Any]:
        yield Text("So far ")
        if self.error:
            raise self.error
        yield End("stop", self.usage)


async def run(engine: Any) -> Outcome:
    job = Job("turn", 1, "session", [{"role": "user", "content": "Why?"}])
    outcome = await Attempt(job, engine, GrowingReply("turn", 1, ""), asyncio.Semaphore(1)).run()
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("error", [TypeError("a list"), KeyError(0), AttributeError("delta"), RuntimeError("what?")])
async def test_an_engine_that_is_not_understood_fails_the_attempt(error: Exception) -> None:
    outcome = await run(Odd(error))
    assert (outcome.state, outcome.reason, outcome.retriable) == ("failed", NOT_UNDERSTOOD, True)
    assert outcome.text == "So far "


@pytest.mark.parametrize(("status", "again"), [(500, True), (503, True), (400, False)])
async def test_a_server_that_is_broken_is_not_the_requests_fault(status: int, again: bool) -> None:
    outcome = await run(Odd(EngineRefused(status, "Loading model")))
    assert (outcome.state, outcome.retriable) == ("failed", again)
    assert outcome.finish_reason == (None if again else REFUSED)
    assert str(status) in (outcome.reason or "")


async def test_figures_that_cannot_be_are_left_out() -> None:
    outcome = await run(Odd(usage=Usage(10**12, -1, 0, float("nan"), 0.0, float("inf"))))
    assert (outcome.state, outcome.text) == ("done", "So far ")
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.tokens_per_second) == (0, 0, None)
    assert outcome.prompt_ms == 0


async def test_a_node_stamps_each_hop_on_the_platforms_clock_and_gives_back_the_platforms() -> None:
    ticks = iter(range(1_700_000_000, 1_700_000_100))
    reply = GrowingReply("turn", 1, "", lambda: float(next(ticks)))
    reply.stamp("arrived")
    job = Job("turn", 1, "session", [{"role": "user", "content": "Hello?"}], hops={"leased": 1.6e12, "dispatched": 1.6e12})
    outcome = await Attempt(job, Odd(usage=Usage(1, 1, 1.0, 1.0, 1.0, 1.0)), reply, asyncio.Semaphore(1)).run()
    assert outcome is not None
    assert outcome.sound().hops == {
        "leased": 1.6e12,
        "dispatched": 1.6e12,
        "arrived": 1_700_000_000_000.0,
        "reading": 1_700_000_001_000.0,
        "first": 1_700_000_002_000.0,
        "last": 1_700_000_003_000.0,
    }


async def test_what_the_job_lacked_already_counts_as_left_out() -> None:
    class Short(Odd):
        async def fit(self, request: Any) -> Fitted:
            return Fitted(request, 4)

    job = Job("turn", 1, "session", [{"role": "user", "content": "Hello?"}], left_out=1000)
    reply = GrowingReply("turn", 1, "")
    outcome = await Attempt(job, Short(usage=Usage(1, 1, 1.0, 1.0, 1.0, 1.0)), reply, asyncio.Semaphore(1)).run()
    assert outcome is not None
    assert (reply.left_out, outcome.left_out) == (1004, 1004)


class Counting:
    """An engine whose tokens are words, and that is told to stop after some."""

    def __init__(self, reply: GrowingReply, stop_after: int = 0) -> None:
        self.reply, self.stop_after = reply, stop_after
        self.asked = 0
        """The most that it was asked for."""

    def health(self) -> Any:
        return SimpleNamespace(model="counting")

    async def tokens(self, text: str) -> int:
        return len(text.split())

    async def fit(self, request: Any) -> Fitted:
        return Fitted(request, 0)

    async def generate(self, request: Any) -> AsyncIterator[Any]:
        self.asked = request.sampling.max_tokens
        prompt = 7 + len(request.prefix.split())
        yield Progress(prompt, prompt)
        for made in range(1, self.asked + 1):
            yield Text(" word")
            if made == self.stop_after:
                self.reply.hear(Verdict.STOP)
                await asyncio.sleep(3600)
        yield End("length", Usage(prompt, self.asked))


@pytest.mark.parametrize(
    ("prefix", "asked", "text"),
    [("", 5, " word word word word word"), ("So far so", 2, "So far so word word"), ("So far so good now", 0, "So far so good now")],
)
async def test_a_reply_over_two_nodes_is_no_longer_than_was_asked_and_all_of_it_counts(prefix: str, asked: int, text: str) -> None:
    job = Job("turn", 2, "session", [{"role": "user", "content": "Why?"}], sampling={"max_tokens": 5}, prefix=prefix)
    reply = GrowingReply("turn", 2, prefix)
    engine: Any = Counting(reply)
    outcome = await Attempt(job, engine, reply, asyncio.Semaphore(1)).run()
    assert outcome is not None
    assert (outcome.state, outcome.text, outcome.finish_reason, engine.asked) == ("done", text, "length", asked)
    assert outcome.completion_tokens == 5
    assert outcome.prompt_tokens == (7 if asked else 0)


async def test_what_a_stopped_reply_took_counts_too() -> None:
    job = Job("turn", 2, "session", [{"role": "user", "content": "Why?"}], sampling={"max_tokens": 50}, prefix="So far")
    reply = GrowingReply("turn", 2, "So far")
    engine: Any = Counting(reply, stop_after=3)
    outcome = await Attempt(job, engine, reply, asyncio.Semaphore(1)).run()
    assert outcome is not None
    assert (outcome.state, outcome.text) == ("cancelled", "So far word word word")
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (7, 5)


async def test_a_reply_ends_before_it_is_too_large_to_be_brought_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "LARGEST_REPLY_BYTES", 40)
    job = Job("turn", 1, "session", [{"role": "user", "content": "Why?"}], sampling={"max_tokens": 50})
    reply = GrowingReply("turn", 1, "")
    engine: Any = Counting(reply)
    outcome = await Attempt(job, engine, reply, asyncio.Semaphore(1)).run()
    assert outcome is not None
    assert (outcome.state, outcome.finish_reason, outcome.text) == ("done", "length", " word" * outcome.completion_tokens)
    assert outcome.completion_tokens == 5


def test_the_largest_reply_is_one_that_a_node_may_hand_in() -> None:
    keys = NodeKeys.of(Ring.parse(Fernet.generate_key().decode()), "home")
    text = "\n" * (LARGEST_REPLY_BYTES // 2 - 1)  # Two bytes each in JSON.
    outcome = Outcome.of("turn", 1, TurnState.DONE, text)
    handed = Handed(Asked.FINISH, "home", str(UUID(int=0)), 1, outcome.seal(keys, "session"))
    assert Outcome.open(Handed.parse(handed.pack()).envelope, keys, "session", "turn", 1) == outcome.sound()
