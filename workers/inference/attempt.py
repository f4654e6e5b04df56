"""One attempt at one turn: from the job that came in to the outcome that goes back."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from app.stream.growing import GrowingReply
from app.wire import hops
from app.wire.figures import figure, whole
from app.wire.jobs import LARGEST_REPLY_BYTES, REFUSED, TOO_LONG, Job, Outcome
from app.wire.states import TurnState, Verdict
from workers.inference.engine import (
    BadParameter,
    End,
    Engine,
    EngineError,
    EngineRefused,
    GenerateRequest,
    Message,
    Progress,
    PromptTooLong,
    Sampling,
    Text,
)

log = structlog.get_logger(__name__)

NOT_UNDERSTOOD: Final = "The engine answered in a way that was not understood; the node's log says more. Press Retry."
REQUESTS_FAULT: Final = (BadParameter, PromptTooLong, EngineRefused)
"""What another attempt would meet again, unless the error itself says that it may not: a server that is busy or broken."""
MOVED: Final = "The node was stopped in the middle of the reply."


@dataclass(slots=True, eq=False)
class Attempt:
    """Runs a job on the engine; `run` returns its outcome, or None where nobody wants it any more."""

    job: Job
    engine: Engine
    reply: GrowingReply
    """What it writes into; the lane it belongs to brings it home."""
    slots: asyncio.Semaphore
    """The engine's, for all lanes together."""
    moved: bool = False
    """The node is going down: another one shall take the turn over."""

    def move(self) -> None:
        """End it so that another node can take it over."""
        self.moved = True
        self.reply.changed.set()

    async def run(self) -> Outcome | None:
        """Generate until the engine ends, a person stops it, or a newer attempt has taken over."""
        began = time.monotonic()
        facts: dict[str, Any] = {"model": self.engine.health().model}
        state, reason, retriable = TurnState.DONE, None, False
        generating: asyncio.Future[None]
        if self.reply.changed.is_set():
            # Stopped before it began: the engine need not hear of it.
            generating = asyncio.get_running_loop().create_future()
        else:
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
                    facts["leaving"] = True
                elif self.reply.verdict is Verdict.STOP:
                    state = TurnState.CANCELLED
                else:
                    log.info("attempt.superseded", turn=self.job.turn, attempt=self.job.attempt, why=self.reply.verdict)
                    return None
            else:
                generating.result()
        except EngineError as error:
            state, retriable = TurnState.FAILED, error.retry or not isinstance(error, REQUESTS_FAULT)
            reason = error.report() if retriable else str(error)
            if not retriable:
                # Programs tell by this that asking for the same again is of no use.
                facts["finish_reason"] = TOO_LONG if isinstance(error, PromptTooLong) else REFUSED
        except Exception:
            # An engine of another make may say anything. Without an outcome the turn would hold its slot for ever.
            log.exception("attempt.failed", turn=self.job.turn, attempt=self.job.attempt)
            state, reason, retriable = TurnState.FAILED, NOT_UNDERSTOOD, True
        finally:
            changed.cancel()
            generating.cancel()
        facts["total_ms"] = (time.monotonic() - began) * 1000
        facts["left_out"] = self.reply.left_out
        facts["hops"] = {**self.job.hops, **self.reply.hops}
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
        request = GenerateRequest(messages, Sampling.from_dict(self.job.sampling), self.reply.prefix)
        async with self.slots:
            # What earlier attempts wrote is part of this reply, not of its prompt: in what it may have, and in what it took.
            said = await self.engine.tokens(request.prefix) if request.prefix else 0
            left = request.sampling.max_tokens - said
            fitted = await self.engine.fit(replace(request, sampling=replace(request.sampling, max_tokens=max(1, left))))
            self.reply.start(self.job.left_out + fitted.left_out)
            self.reply.stamp(hops.READING)
            facts["completion_tokens"] = said
            if left <= 0:
                facts["finish_reason"] = "length"  # It was cut off after its last word.
                return
            size = len(orjson.dumps(request.prefix))
            async with contextlib.aclosing(self.engine.generate(fitted.request)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Text):
                        size += len(orjson.dumps(chunk.text))
                        if size > LARGEST_REPLY_BYTES:
                            facts["finish_reason"] = "length"
                            return
                        if not self.reply.begun:
                            facts["first_token_ms"] = (time.monotonic() - began) * 1000
                            self.reply.stamp(hops.FIRST)
                        self.reply.add(chunk.text)
                        facts["completion_tokens"] += chunk.tokens
                    elif isinstance(chunk, Progress):
                        facts["prompt_tokens"] = max(0, whole(chunk.total) - said)
                    elif isinstance(chunk, End):
                        self.reply.stamp(hops.LAST)
                        facts |= {
                            "prompt_tokens": max(0, whole(chunk.usage.prompt_tokens) - said),
                            "completion_tokens": said + whole(chunk.usage.completion_tokens),
                            "prompt_ms": figure(chunk.usage.prompt_ms) or 0.0,
                            "tokens_per_second": figure(chunk.usage.tokens_per_second) or None,
                            "finish_reason": str(chunk.finish_reason)[:32],
                        }
