"""Appending to turns' streams from a node: one round trip for everything that is due, one fence check for each turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.stream import scripts
from app.wire import names
from app.wire.states import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """What one attempt has to say; nothing at all renews its lease."""

    turn: str
    attempt: int
    events: Sequence[bytes] = ()
    continues: bool = True
    """Whether these go on from earlier ones: without those in Redis they are refused, and all is to be written anew."""


class Appender:
    """Writes events of one node's attempts; every call answers what Redis thinks of the attempt."""

    def __init__(self, redis: Redis, node: str) -> None:
        self._redis: Final = redis
        self._node: Final = node

    async def begin(self, turn: str, attempt: int, leased_ms: int) -> Verdict:
        """Take up an attempt that was leased at `leased_ms` of Redis' clock.

        `repeat` where it was begun before, `stale` where a newer one holds the fence or the lease is long over.
        """
        good = [leased_ms, names.LEASE_GOOD_SECONDS * 1000, names.STREAM_TTL_SECONDS]
        return _verdict(await self._redis.fcall(scripts.BEGIN, 0, turn, self._node, attempt, *good))

    async def append(self, entry: Entry) -> Verdict:
        """Append sealed events of one attempt."""
        [verdict] = await self.append_all([entry])
        return verdict

    async def append_all(self, batch: Sequence[Entry]) -> list[Verdict]:
        """Append for several attempts with one call; the verdicts come in the order of the batch."""
        words: list[Any] = ["*", self._node]
        for one in batch:
            words += (one.turn, one.attempt, int(one.continues), len(one.events), *one.events)
        return [_verdict(answer) for answer in await self._redis.fcall(scripts.APPEND, 0, *words)]

    async def kept(self, turn: str) -> bool:
        """Say whether there is a stream of the turn."""
        return bool(await self._redis.exists(names.turn_stream(turn)))


def _verdict(answer: object) -> Verdict:
    if isinstance(answer, RedisError):
        raise answer
    return Verdict(answer.decode() if isinstance(answer, bytes) else str(answer))
