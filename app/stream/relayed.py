"""Appending what came through Discord: frames may be lost, doubled or out of order, so Redis itself keeps the place."""

from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from app.stream import scripts
from app.wire import names
from app.wire.events import Event, Sealer
from app.wire.states import EventKind, Verdict

RELAY: Final = """
-- KEYS: meta, stream   ARGV: attempt, channel, ttl seconds, kind, at, end, payload
-- Checks the fence, marks the sign of life, and appends what begins exactly where the attempt's text ends. Answers what
-- the node should do next, how far the text goes now (-1: the attempt has not started), and whether this went in.
local meta = redis.call('HMGET', KEYS[1], 'fence', 'stop', 'closed', 'relayed')
if not meta[1] then return {'unknown', -1, 0} end
if tonumber(meta[1]) ~= tonumber(ARGV[1]) then return {'stale', -1, 0} end
if meta[3] then return {'closed', -1, 0} end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'seen', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('EXPIRE', KEYS[1], ARGV[3])
local have, took = -1, 0
if meta[4] then
  local attempt, length = string.match(meta[4], '^(%d+) (%d+)$')
  if attempt == ARGV[1] then have = tonumber(length) end
end
if (ARGV[4] == 'started' and have < 0) or (ARGV[4] == 'delta' and have == tonumber(ARGV[5])) then
  local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[7])
  redis.call('PUBLISH', ARGV[2], id .. ' ' .. ARGV[7])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
  redis.call('HSET', KEYS[1], 'relayed', ARGV[1] .. ' ' .. ARGV[6])
  have, took = tonumber(ARGV[6]), 1
end
return {meta[2] and 'stop' or 'go', have, took}
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a frame."""

    verdict: Verdict
    have: int
    """Bytes of the reply that the stream has now; -1 while this attempt has not started."""
    new: bool
    """Whether something went in that was not there before."""


class Relayed:
    """Writes the events of one attempt that a node sent through Discord."""

    def __init__(self, redis: Redis, sealer: Sealer) -> None:
        self._redis: Final = redis
        self._sealer: Final = sealer
        self._turn: Final = sealer.turn
        self._keys: Final = [names.turn_meta(sealer.turn), names.turn_stream(sealer.turn)]
        self._args: Final[list[str | int | bytes]] = [sealer.attempt, names.turn_channel(sealer.turn), names.STREAM_TTL_SECONDS]

    async def started(self, at: int, left_out: int) -> Taken:
        """Begin the attempt's part of the stream; once."""
        data = {"node": self._sealer.node, "left_out": left_out}
        return await self._take("started", at, at, Event(EventKind.STARTED, self._turn, self._sealer.attempt, at=at, data=data))

    async def delta(self, at: int, text: str) -> Taken:
        """Add text where it belongs: what is there already is left out, what lies beyond a gap is not taken."""
        raw = text.encode()
        taken = await self._delta(at, text, at + len(raw))
        if at < taken.have < at + len(raw) and not taken.new:
            # Frames end between characters, so the text that is there does too.
            taken = await self._delta(taken.have, raw[taken.have - at :].decode(errors="replace"), at + len(raw))
        return taken

    async def ask(self) -> Taken:
        """Add nothing: ask how far the text goes, and renew the lease."""
        return await self._take("ask", 0, 0, None)

    async def anew(self) -> None:
        """Lay an empty stream from byte 0 on, where Redis has lost the turn or what it has is not the reply."""
        seed = self._redis.register_script(scripts.SEED)
        await seed(keys=self._keys, args=self._args)
        await self._redis.hdel(self._keys[0], "relayed")
        await self.started(0, 0)

    async def _delta(self, at: int, text: str, end: int) -> Taken:
        return await self._take("delta", at, end, Event(EventKind.DELTA, self._turn, self._sealer.attempt, at=at, text=text))

    async def _take(self, kind: str, at: int, end: int, event: Event | None) -> Taken:
        script = self._redis.register_script(RELAY)
        payload = self._sealer.seal(event) if event else b""
        answer: Any = await script(keys=self._keys, args=[*self._args, kind, at, end, payload])
        verdict, have, took = answer
        return Taken(Verdict(verdict.decode()), int(have), bool(took))
