"""Writing what the engine makes to the turns' streams: the first words at once, the rest gathered for a moment."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from redis.exceptions import RedisError

from app.stream.append import Appender, Entry
from app.stream.growing import GrowingReply
from app.wire import names
from app.wire.events import Event, Sealer
from app.wire.states import EventKind, Verdict

log = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.025
"""Text is gathered for so long before it goes out: the eye sees no difference, the CPU does."""
AWAY_SECONDS: Final = 0.5
"""Pause before the next try while Redis is away; the text waits here meanwhile."""


LOST_SECONDS: Final = 0.25
"""Pause before the next try while Redis does not know the turn: the platform is writing it there."""


def _nobody(urgent: bool) -> None:
    pass


def _nowhere(turn: str, attempt: int) -> None:
    pass


class Reply(GrowingReply):
    """The reply of one attempt on its way to its stream, and how far it has gone out."""

    def __init__(
        self, turn: str, attempt: int, sealer: Sealer, prefix: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(turn, attempt, prefix, clock)
        self._sealer: Final = sealer
        self._base = len(prefix.encode())
        self._pending: Final[list[str]] = []
        self._sent = self._base
        self._announce = False
        self._fresh = not prefix
        """Whether nothing of the reply need lie on the stream before what is said next."""
        self._held_until = 0.0
        self._flying = (0, False)
        self.spoke_at = time.monotonic()
        self.wake: Callable[[bool], None] = _nobody
        """Tells the writer that there is something to go out, and whether it is urgent."""

    @property
    def due(self) -> bool:
        """Say whether something waits to go out, and may."""
        return (bool(self._pending) or self._announce) and time.monotonic() >= self._held_until

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

    def entry(self) -> Entry:
        """Return, sealed, what has not gone out yet."""
        events: list[bytes] = []
        self._flying = (0, False)
        if self.due:
            self._flying = (len(self._pending), self._announce)
            if self._announce:
                events.append(self._started(self._base))
            if self._pending:
                events.append(self._delta(self._sent, "".join(self._pending)))
        return Entry(self.turn, self.attempt, events, continues=not self._fresh)

    def rewind(self) -> None:
        """Say everything again from byte 0: Redis has lost what was said."""
        text = self.text
        self._pending[:] = [text] if text else []
        self._sent = self._base = 0
        self._announce = self._fresh = True
        self._held_until = time.monotonic() + LOST_SECONDS

    def gone_out(self) -> None:
        """Note that what the last `entry` held is on the stream; more may have come since."""
        pieces, announced = self._flying
        self._sent += len("".join(self._pending[:pieces]).encode())
        self._fresh = self._fresh and not (pieces or announced)
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

    def __init__(self, appender: Appender, lost: Callable[[str, int], object] = _nowhere) -> None:
        """`lost` asks the platform to write a turn that Redis does not know, given its id and attempt."""
        self._appender: Final = appender
        self._lost: Final = lost
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
            verdicts = await self._appender.append_all([reply.entry() for reply in replies])
            for reply, verdict in zip(replies, verdicts, strict=True):
                if verdict is Verdict.UNKNOWN:
                    log.info("stream.lost", turn=reply.turn, attempt=reply.attempt)
                    reply.rewind()
                    self._lost(reply.turn, reply.attempt)
                    asyncio.get_running_loop().call_later(LOST_SECONDS, self._due.set)
                    continue
                reply.gone_out()
                reply.hear(verdict)
