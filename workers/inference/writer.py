"""Writing what the engine makes to the turns' streams: the first words at once, the rest gathered for a moment."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from redis.exceptions import RedisError

from app.stream.append import Appender
from app.stream.growing import GrowingReply
from app.wire import names
from app.wire.events import Event, Sealer
from app.wire.states import EventKind, Verdict

log = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.025
"""Text is gathered for so long before it goes out: the eye sees no difference, the CPU does."""
AWAY_SECONDS: Final = 0.5
"""Pause before the next try while Redis is away; the text waits here meanwhile."""


def _nobody(urgent: bool) -> None:
    pass


class Reply(GrowingReply):
    """The reply of one attempt on its way to its stream, and how far it has gone out."""

    def __init__(
        self, turn: str, attempt: int, sealer: Sealer, prefix: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(turn, attempt, prefix, clock)
        self._sealer: Final = sealer
        self._base: Final = len(prefix.encode())
        self._pending: Final[list[str]] = []
        self._sent = self._base
        self._announce = False
        self.spoke_at = time.monotonic()
        self.wake: Callable[[bool], None] = _nobody
        """Tells the writer that there is something to go out, and whether it is urgent."""

    @property
    def due(self) -> bool:
        """Say whether something waits to go out."""
        return bool(self._pending) or self._announce

    def start(self, left_out: int) -> None:
        """Announce that the engine has taken the prompt."""
        super().start(left_out)
        self._announce = True
        self.wake(False)

    def add(self, text: str) -> None:
        """Add text at the end; the first goes out at once."""
        first = not self.begun
        super().add(text)
        self._pending.append(text)
        self.wake(first)

    def events(self) -> list[bytes]:
        """Return, sealed, what has not gone out yet."""
        found = [self._started(self._base)] if self._announce else []
        if self._pending:
            found.append(self._delta(self._sent, "".join(self._pending)))
        return found

    def everything(self) -> list[bytes]:
        """Return the whole reply, sealed, for a stream that was lost."""
        text = self.text
        return [self._started(0), self._delta(0, text)] if text else [self._started(0)]

    def mark(self) -> tuple[int, bool]:
        """Return what waits right now: more may come while it is being written."""
        return len(self._pending), self._announce

    def gone_out(self, mark: tuple[int, bool]) -> None:
        """Note that what waited at `mark` is on the stream."""
        pieces, announced = mark
        self._sent += len("".join(self._pending[:pieces]).encode())
        del self._pending[:pieces]
        self._announce = self._announce and not announced
        self.spoke_at = time.monotonic()

    def _started(self, at: int) -> bytes:
        data = {"node": self._sealer.node, "left_out": self.left_out}
        return self._sealer.seal(Event(EventKind.STARTED, self.turn, self.attempt, at=at, data=data))

    def _delta(self, at: int, text: str) -> bytes:
        return self._sealer.seal(Event(EventKind.DELTA, self.turn, self.attempt, at=at, text=text))


class Writer:
    """Brings all replies of this node to their streams, everything that is due in one round trip."""

    def __init__(self, appender: Appender) -> None:
        self._appender: Final = appender
        self._replies: Final[set[Reply]] = set()
        self._urgent: Final = asyncio.Event()
        self._due: Final = asyncio.Event()
        self._flushing: Final = asyncio.Lock()

    def open(self, reply: Reply) -> None:
        """Begin to carry a reply, and to renew its lease."""
        self._replies.add(reply)
        reply.wake = self.wake

    def close(self, reply: Reply) -> None:
        """Carry a reply no longer."""
        self._replies.discard(reply)

    def wake(self, urgent: bool) -> None:
        """Say that a reply has something to go out; urgent things are not gathered."""
        self._due.set()
        if urgent:
            self._urgent.set()

    async def run(self) -> None:
        """Write for as long as the node lives."""
        while True:
            try:
                async with asyncio.timeout(names.RENEW_SECONDS / 2):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            self._urgent.clear()
            try:
                await self.flush()
                pause = GATHER_SECONDS
            except (RedisError, OSError) as error:
                log.warning("stream.away", error=str(error))
                self._due.set()
                pause = AWAY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._urgent.wait()
            except TimeoutError:
                pass

    async def flush(self) -> None:
        """Write everything that is due, and renew the leases of replies that have been silent."""
        async with self._flushing:
            silent_since = time.monotonic() - names.RENEW_SECONDS
            replies = [reply for reply in self._replies if reply.due or reply.spoke_at < silent_since]
            if not replies:
                return
            marks = [reply.mark() for reply in replies]
            batch: list[tuple[str, int, Sequence[bytes]]]
            batch = [(reply.turn, reply.attempt, reply.events()) for reply in replies]
            verdicts = await self._appender.append_all(batch)
            for reply, mark, verdict in zip(replies, marks, verdicts, strict=True):
                if verdict is Verdict.UNKNOWN:
                    mark = reply.mark()
                    verdict = await self._appender.seed(reply.turn, reply.attempt, reply.everything())
                    log.info("stream.seeded", turn=reply.turn, attempt=reply.attempt)
                reply.gone_out(mark)
                reply.hear(verdict)
