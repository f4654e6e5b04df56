"""One attempt at one turn: from the job that came in to the outcome that goes back."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from app.wire.envelope import NodeKeys
from app.wire.events import Sealer
from app.wire.jobs import Job, Outcome, event_ring
from app.wire.states import TurnState, Verdict
from workers.inference.engine import (
    BadParameter,
    End,
    Engine,
    EngineError,
    EngineRefused,
    GenerateRequest,
    Message,
    PromptTooLong,
    Sampling,
    Text,
)
from workers.inference.writer import Reply, Writer

log = structlog.get_logger(__name__)

MOVED: Final = "The node was stopped in the middle of the reply."


@dataclass(slots=True)
class Attempt:
    """Runs a job on the engine; `run` returns its outcome, or None where nobody wants it any more."""

    job: Job
    keys: NodeKeys
    node: str
    engine: Engine
    writer: Writer
    reply: Reply = field(init=False)
    prefix: str = field(init=False)
    moved: bool = False
    """The node is going down: another one shall take the turn over."""

    def __post_init__(self) -> None:
        job = self.job
        sealer = Sealer(event_ring(self.keys.from_node, job.session), job.turn, job.attempt, self.node)
        # An engine that cannot carry a text on begins anew; the page cuts what it shows where `started` says.
        self.prefix = job.prefix if self.engine.continues else ""
        self.reply = Reply(job.turn, job.attempt, sealer, self.prefix)

    def stop(self) -> None:
        """End it with the text so far: a person asked for that."""
        self.reply.hear(Verdict.STOP)

    def move(self) -> None:
        """End it so that another node can take it over."""
        self.moved = True
        self.reply.changed.set()

    async def run(self) -> Outcome | None:
        """Generate until the engine ends, a person stops it, or a newer attempt has taken over."""
        began = time.monotonic()
        facts: dict[str, Any] = {"model": self.engine.health().model}
        state, reason, retriable = TurnState.DONE, None, False
        generating = asyncio.ensure_future(self._generate(began, facts))
        changed = asyncio.ensure_future(self.reply.changed.wait())
        try:
            await asyncio.wait((generating, changed), return_when=asyncio.FIRST_COMPLETED)
            if not generating.done():
                generating.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await generating
                if self.moved:
                    state, reason, retriable = TurnState.FAILED, MOVED, True
                elif self.reply.verdict is Verdict.STOP:
                    state = TurnState.CANCELLED
                else:
                    log.info("attempt.superseded", turn=self.job.turn, attempt=self.job.attempt, why=self.reply.verdict)
                    return None
            else:
                generating.result()
        except (BadParameter, PromptTooLong, EngineRefused) as error:
            state, reason = TurnState.FAILED, str(error)
        except EngineError as error:
            state, reason, retriable = TurnState.FAILED, error.report(), True
        finally:
            changed.cancel()
            generating.cancel()
        facts["total_ms"] = (time.monotonic() - began) * 1000
        facts["left_out"] = self.reply.left_out
        return Outcome.of(
            self.job.turn,
            self.job.attempt,
            state,
            self.reply.text,
            reason=reason,
            retriable=retriable,
            **facts,
        )

    async def _generate(self, began: float, facts: dict[str, Any]) -> None:
        messages: list[Message] = [{"role": one["role"], "content": one["content"]} for one in self.job.messages]
        request = GenerateRequest(messages, Sampling.from_dict(self.job.sampling), self.prefix)
        fitted = await self.engine.fit(request)
        self.reply.start(fitted.left_out)
        self.writer.wake(urgent=False)
        async with contextlib.aclosing(self.engine.generate(fitted.request)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    first = not self.reply.begun
                    self.reply.add(chunk.text)
                    self.writer.wake(urgent=first)
                    if first:
                        facts["first_token_ms"] = (time.monotonic() - began) * 1000
                elif isinstance(chunk, End):
                    facts |= {
                        "prompt_tokens": chunk.usage.prompt_tokens,
                        "completion_tokens": chunk.usage.completion_tokens,
                        "prompt_ms": chunk.usage.prompt_ms,
                        "tokens_per_second": chunk.usage.tokens_per_second or None,
                        "finish_reason": chunk.finish_reason,
                    }
