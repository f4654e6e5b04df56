"""Appending to turns' streams from a node: one round trip for everything that is due, one fence check for each turn."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from app.stream import scripts
from app.wire import names
from app.wire.states import Verdict


class Appender:
    """Writes events of this node's attempts; every call answers what Redis thinks of the attempt."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Final = redis
        self._append = redis.register_script(scripts.APPEND)
        self._begin = redis.register_script(scripts.BEGIN)
        self._seed = redis.register_script(scripts.SEED)

    async def begin(self, turn: str, attempt: int, leased_ms: int) -> Verdict:
        """Take up an attempt that was leased at `leased_ms` of Redis' clock.

        `repeat` where it was begun before, `stale` where a newer one holds the fence or the lease is long over.
        """
        keys, args = _place(turn, attempt)
        more = [leased_ms, names.LEASE_GOOD_SECONDS * 1000]
        return Verdict(_text(await self._begin(keys=keys, args=[*args, *more])))

    async def append(self, turn: str, attempt: int, events: Sequence[bytes] = ()) -> Verdict:
        """Append sealed events of one attempt; with none, only renew its lease."""
        keys, args = _place(turn, attempt)
        return Verdict(_text(await self._append(keys=keys, args=[*args, *events])))

    async def append_all(self, batch: Sequence[tuple[str, int, Sequence[bytes]]]) -> list[Verdict]:
        """Append for several attempts in one round trip; the verdicts come in the order of the batch."""
        # Not through redis-py's Script: in a pipeline that asks SCRIPT EXISTS first, a second round trip each time.
        async with self._redis.pipeline(transaction=False) as pipe:
            for turn, attempt, events in batch:
                keys, args = _place(turn, attempt)
                pipe.evalsha(self._append.sha, len(keys), *keys, *args, *events)
            answers = await pipe.execute(raise_on_error=False)
        for index, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[index] = await self.append(*batch[index])
            elif isinstance(answer, Exception):
                raise answer
        return [Verdict(_text(answer)) for answer in answers]

    async def kept(self, turn: str) -> bool:
        """Say whether there is a stream of the turn."""
        return bool(await self._redis.exists(names.turn_stream(turn)))

    async def seed(self, turn: str, attempt: int, events: Sequence[bytes]) -> Verdict:
        """Lay the stream anew from byte 0, where Redis has lost it."""
        keys, args = _place(turn, attempt)
        return Verdict(_text(await self._seed(keys=keys, args=[*args, *events])))


def _place(turn: str, attempt: int) -> tuple[list[str], list[str | int | bytes]]:
    keys = [names.turn_meta(turn), names.turn_stream(turn)]
    return keys, [attempt, names.turn_channel(turn), names.STREAM_TTL_SECONDS]


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)
