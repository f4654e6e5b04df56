"""The desk: what each frame of the platform asks for, done once however often and in whatever order it comes."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import orjson
import structlog

from app.wire import hops, names
from app.wire.frames import Frame, FrameKind
from app.wire.jobs import FORMAT, Job, Outcome
from app.wire.states import TurnState, Verdict
from bots.client.host import Host
from bots.client.memory import Memory
from bots.client.reply import FrameReply
from bots.client.speaker import Speaker

log = structlog.get_logger(__name__)

LATE_SECONDS: Final = names.LEASE_GOOD_SECONDS
"""An older prompt has long been given to another attempt, which will come if it is still wanted."""
KEEP_SECONDS: Final = 900.0
"""How long a finished reply is kept for whoever asks for it again."""
MOVED: Final = "The node is going down and takes no more turns."
BROKEN: Final = "The node failed in a way it was not made for; its log says how."


class Desk:
    """Takes frames that were opened; replies go to the speaker of the channel their prompt came in."""

    def __init__(
        self,
        host: Host,
        memory: Memory,
        speaker: Callable[[int], Speaker],
        refused: Counter[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host: Final = host
        self._memory: Final = memory
        self._speaker: Final = speaker
        self._refused: Final = refused
        self._clock: Final = clock
        self._replies: Final[dict[str, FrameReply]] = {}
        self._working: Final[set[asyncio.Task[None]]] = set()

    @property
    def replies(self) -> Sequence[FrameReply]:
        """Every reply that is being written, said or kept."""
        return list(self._replies.values())

    async def take(self, channel: int, frame: Frame, age: float = 0.0) -> None:
        """Do what a frame asks for; `age` is how many seconds ago its message was made."""
        match frame.kind:
            case FrameKind.PROMPT:
                await self._prompt(channel, frame, age)
            case FrameKind.STOP:
                self._stop(frame)
            case FrameKind.CLOSED:
                self._close(frame)
            case FrameKind.RESEND:
                reply = self._of(frame)
                if reply is not None:
                    reply.resend(frame.at)
            case FrameKind.PING:
                self._speaker(channel).answer(Frame(FrameKind.PONG, at=frame.at))
            case FrameKind.DRAIN:
                self._host.take_no_more()
            case FrameKind.KEYS:
                await self._host.adopt(frame.body.decode("ascii", "replace"))
            case _:
                pass  # A mirror is the platform's own record.

    async def catch_up(self, channel: int, missed: Sequence[tuple[Frame, float]]) -> None:
        """Take what was missed in a channel, each with its age: what came after a prompt may have made it void."""
        newest: dict[str, int] = {}
        for frame, age in missed:
            if frame.kind is FrameKind.PROMPT:
                newest[frame.turn] = max(frame.attempt, newest.get(frame.turn, 0))
            elif frame.kind is not FrameKind.DRAIN:
                # Whether it is to drain, the platform says again to a node that says hello.
                await self.take(channel, frame, age)
        for frame, age in missed:
            # The history is read a little further back than what was handled: what was done is no repeat there.
            known = self._memory.turn(frame.turn)
            done = known is not None and known.begun and known.attempt >= frame.attempt
            if frame.kind is FrameKind.PROMPT and frame.attempt == newest[frame.turn] and not done:
                await self.take(channel, frame, age)

    def abandon(self) -> None:
        """Let go of every turn: another Client-Bot has them."""
        for reply in self.replies:
            reply.hear(Verdict.STALE)
            reply.over.set()

    def end(self) -> None:
        """Let everything fall."""
        for work in self._working:
            work.cancel()

    async def _prompt(self, channel: int, frame: Frame, age: float) -> None:
        try:
            job = Job(**orjson.loads(frame.body))
        except (orjson.JSONDecodeError, TypeError):
            self._refuse("unreadable", frame)
            return
        if (job.turn, job.attempt, job.format) != (frame.turn, frame.attempt, FORMAT):
            self._refuse("unreadable", frame)
            return
        if age > LATE_SECONDS:
            self._refuse("late", frame)
            return
        if not self._memory.begin(job.turn, job.attempt):
            self._refuse("repeat", frame)
            return
        # On disk before anything is done: a node that is killed now must not do it twice.
        await self._memory.save()
        older = self._replies.get(job.turn)
        if older is not None:
            older.hear(Verdict.STALE)
            older.over.set()
        reply = FrameReply(job.turn, job.attempt, self._host.prefix(job), self._clock)
        reply.stamp(hops.ARRIVED)
        known = self._memory.turn(job.turn)
        if known is not None and known.stopped:
            reply.hear(Verdict.STOP)
        self._replies[job.turn] = reply
        speaker = self._speaker(channel)
        speaker.carry(reply)
        work = asyncio.create_task(self._work(job, reply, speaker))
        self._working.add(work)
        work.add_done_callback(self._working.discard)

    async def _work(self, job: Job, reply: FrameReply, speaker: Speaker) -> None:
        structlog.contextvars.bind_contextvars(turn=job.turn, attempt=job.attempt, session=job.session)
        try:
            outcome = await self._run(job, reply)
            if outcome is None:
                return
            log.info("job.ended", state=outcome.state, tokens=outcome.completion_tokens, ms=round(outcome.total_ms))
            reply.finish(outcome)
            async with asyncio.timeout(KEEP_SECONDS):
                await reply.over.wait()
        except TimeoutError:
            log.error("outcome.unconfirmed", turn=job.turn, attempt=job.attempt)
        finally:
            speaker.drop(reply)
            if self._replies.get(job.turn) is reply:
                del self._replies[job.turn]

    async def _run(self, job: Job, reply: FrameReply) -> Outcome | None:
        if self._host.draining:
            facts = {"reason": MOVED, "retriable": True, "leaving": True}
            return Outcome.of(job.turn, job.attempt, TurnState.FAILED, reply.text, **facts)
        try:
            return await self._host.run(job, reply)
        except Exception:
            log.exception("attempt.broken", turn=job.turn, attempt=job.attempt)
            return Outcome.of(job.turn, job.attempt, TurnState.FAILED, reply.text, reason=BROKEN, retriable=True)

    def _stop(self, frame: Frame) -> None:
        self._memory.stop(frame.turn, frame.attempt)
        reply = self._of(frame)
        if reply is not None:
            reply.hear(Verdict.STOP)

    def _close(self, frame: Frame) -> None:
        self._memory.close(frame.turn, frame.attempt)
        reply = self._replies.get(frame.turn)
        if reply is not None and reply.attempt <= frame.attempt:
            reply.hear(Verdict.CLOSED)
            reply.over.set()

    def _of(self, frame: Frame) -> FrameReply | None:
        reply = self._replies.get(frame.turn)
        return reply if reply is not None and reply.attempt == frame.attempt else None

    def _refuse(self, why: str, frame: Frame) -> None:
        self._refused[why] += 1
        log.info("frame.refused", why=why, turn=frame.turn, attempt=frame.attempt)
