"""The fair queue on Redis: who waits, who is next, which node takes it; each choice one atomic step."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from app.core import redis
from app.wire import names

_ENQUEUE: Final = """
-- KEYS: meta, ring, waiting, user queue, leases   ARGV: turn, user, session, next attempt, affinity, front, ttl
-- Puts a turn into its user's queue, once. A lease that it still holds is taken away first: this is its next attempt.
if redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1 then return 0 end
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and tonumber(fence) >= tonumber(ARGV[4]) then return 0 end
local held = redis.call('HGET', KEYS[1], 'node')
if held then redis.call('SREM', 'ml:leased:' .. held, ARGV[1]) end
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'session', ARGV[3], 'next', ARGV[4], 'affinity', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[7])
redis.call('SADD', KEYS[3], ARGV[1])
if redis.call('LLEN', KEYS[4]) == 0 then redis.call('RPUSH', KEYS[2], ARGV[2]) end
redis.call(ARGV[6] == '1' and 'LPUSH' or 'RPUSH', KEYS[4], ARGV[1])
return 1
"""

_PICK: Final = """
-- KEYS: ring, waiting, leases, nodes   ARGV: ttl
-- The next user in the ring, their oldest turn, and the node that should have it: leased and fenced in one step.
local free, best, most = {}, nil, 0
for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  local node = redis.call('HMGET', 'ml:node:' .. name, 'state', 'slots', 'lane')
  if node[1] == 'ready' and redis.call('SISMEMBER', 'ml:nodes:draining', name) == 0 then
    local left = tonumber(node[2]) - redis.call('SCARD', 'ml:leased:' .. name)
    if left > 0 then
      free[name] = node[3]
      if left > most then best, most = name, left end
    end
  end
end
if not best then return nil end
while true do
  local user = redis.call('LPOP', KEYS[1])
  if not user then return nil end
  local queue = 'ml:queue:user:' .. user
  local turn = redis.call('LPOP', queue)
  if redis.call('LLEN', queue) > 0 then redis.call('RPUSH', KEYS[1], user) end
  if turn then
    redis.call('SREM', KEYS[2], turn)
    local key = 'ml:turn:' .. turn
    local meta = redis.call('HMGET', key, 'next', 'session', 'affinity')
    if meta[1] then
      local node = best
      if meta[3] and free[meta[3]] then node = meta[3] end
      local now = redis.call('TIME')
      local ms = now[1] * 1000 + math.floor(now[2] / 1000)
      redis.call('HSET', key, 'fence', meta[1], 'node', node, 'lane', free[node], 'seen', ms)
      redis.call('EXPIRE', key, ARGV[1])
      redis.call('SADD', 'ml:leased:' .. node, turn)
      redis.call('ZADD', KEYS[3], ms, turn)
      return {turn, meta[1], meta[2], node, free[node], ms}
    end
  end
end
"""

_REMOVE: Final = """
-- KEYS: meta, ring, waiting, user queue   ARGV: turn, user
-- Takes a waiting turn out of the queue; answers 1 where it was there.
if redis.call('SREM', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('LREM', KEYS[4], 0, ARGV[1])
if redis.call('LLEN', KEYS[4]) == 0 then redis.call('LREM', KEYS[2], 0, ARGV[2]) end
return 1
"""

_RELEASE: Final = """
-- KEYS: meta, leases   ARGV: turn, attempt, node as PostgreSQL knows it
-- Gives back the slot that an attempt holds; a newer attempt's slot stays.
local meta = redis.call('HMGET', KEYS[1], 'fence', 'node')
if meta[1] and tonumber(meta[1]) > tonumber(ARGV[2]) then return 0 end
if meta[2] then redis.call('SREM', 'ml:leased:' .. meta[2], ARGV[1]) end
if ARGV[3] ~= '' then redis.call('SREM', 'ml:leased:' .. ARGV[3], ARGV[1]) end
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""

_FREE_LOST: Final = """
-- KEYS: leases, nodes
-- A slot that is taken by a turn without a lease is taken by nobody; answers how many there were.
local freed = 0
for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local taken = 'ml:leased:' .. name
  for _, turn in ipairs(redis.call('SMEMBERS', taken)) do
    if not redis.call('ZSCORE', KEYS[1], turn) then freed = freed + redis.call('SREM', taken, turn) end
  end
end
return freed
"""

_WAITING: Final = """
-- KEYS: ring   ARGV: most turns
-- The waiting turns in the order in which they will be taken: round the ring, one turn of each user a time.
local users, depth, found = redis.call('LRANGE', KEYS[1], 0, -1), 0, {}
local more = #users > 0
while more and #found < tonumber(ARGV[1]) do
  more = false
  for _, user in ipairs(users) do
    local turn = redis.call('LINDEX', 'ml:queue:user:' .. user, depth)
    if turn then
      more = true
      found[#found + 1] = turn
    end
  end
  depth = depth + 1
end
return found
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one turn, given to one node."""

    turn: str
    attempt: int
    session: str
    node: str
    lane: str
    at_ms: int = 0
    """In milliseconds of Redis' clock."""


@cache
def _script(source: str) -> Any:
    return redis.client().register_script(source)


def enqueue(turn: str, user: str, session: str, attempt: int, affinity: str = "", *, front: bool = False) -> bool:
    """Let a turn wait for its next attempt; False where it waits already or that attempt was given out before."""
    keys = [names.turn_meta(turn), names.RING, names.WAITING, names.user_queue(user), names.LEASES]
    args: list[Any] = [turn, user, session, attempt, affinity, int(front), names.STREAM_TTL_SECONDS]
    return bool(_script(_ENQUEUE)(keys=keys, args=args))


def pick() -> Lease | None:
    """Lease the next turn to a node with a free slot; None where nobody waits or no slot is free."""
    keys = [names.RING, names.WAITING, names.LEASES, names.NODES]
    answer: Any = _script(_PICK)(keys=keys, args=[names.STREAM_TTL_SECONDS])
    if not answer:
        return None
    turn, attempt, session, node, lane = (part.decode() for part in answer[:5])
    return Lease(turn, int(attempt), session, node, lane, int(answer[5]))


def remove(turn: str, user: str) -> bool:
    """Take a waiting turn out; False where it does not wait."""
    keys = [names.turn_meta(turn), names.RING, names.WAITING, names.user_queue(user)]
    return bool(_script(_REMOVE)(keys=keys, args=[turn, user]))


def release(turn: str, attempt: int, node: str | None = None) -> None:
    """Give back the slot of an attempt; twice does no harm. `node` says whose, where Redis may have forgotten."""
    _script(_RELEASE)(keys=[names.turn_meta(turn), names.LEASES], args=[turn, attempt, node or ""])


def forget(turn: str, attempt: int) -> None:
    """Give back the slot of a turn that is gone, and remove what its stream holds."""
    release(turn, attempt)
    redis.client().delete(names.turn_meta(turn), names.turn_stream(turn))


def restore_leases(running: Mapping[str, str]) -> None:
    """Write the leases of running turns (turn: node) where Redis has lost them; those it has stay as they are."""
    if not running:
        return
    seconds, micros = redis.client().time()
    now = int(seconds * 1000 + micros // 1000)
    with redis.client().pipeline(transaction=True) as pipe:
        for turn, node in running.items():
            pipe.zadd(names.LEASES, {turn: now}, nx=True)
            pipe.sadd(names.node_leases(node), turn)
        pipe.execute()


def free_lost_slots() -> int:
    """Free the slots whose lease is gone, such as where the turn's own key ran out before it was released."""
    return int(_script(_FREE_LOST)(keys=[names.LEASES, names.NODES]))


def waiting(most: int = 1000) -> list[str]:
    """Return the waiting turns in the order in which they will be taken."""
    answer: Any = _script(_WAITING)(keys=[names.RING], args=[most])
    return [turn.decode() for turn in answer]
