"""The Lua that keeps a turn's stream true, as a library of Redis functions: what it checks and what it writes is one step."""

from typing import Final

from app.wire.names import APPEND, BEGIN

__all__ = ("APPEND", "BEGIN", "CLOSE", "RELAY", "SOURCE")
CLOSE: Final = "ml_close"
RELAY: Final = "ml_relay"

SOURCE: Final = """#!lua name=mlstream
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function tell(turn, payload)
  local id = redis.call('XADD', 'ml:stream:' .. turn, '*', 'e', payload)
  redis.call('PUBLISH', 'ml:events:' .. turn, id .. ' ' .. payload)
end

-- What an attempt of a node is worth; nil where there is nothing against it.
local function against(meta, node, attempt)
  if not meta[1] then return 'unknown' end
  if tonumber(meta[1]) ~= tonumber(attempt) or meta[2] ~= node then return 'stale' end
  if meta[4] then return 'closed' end
end

-- Checks the fence, marks the sign of life, appends and publishes args[first] to args[last]; answers what the node should
-- do next.
local function say(node, time, turn, attempt, continues, args, first, last)
  local meta = redis.call('HMGET', 'ml:turn:' .. turn, 'fence', 'node', 'stop', 'closed')
  local verdict = against(meta, node, attempt)
  if verdict then return verdict end
  if continues == '1' and redis.call('EXISTS', 'ml:stream:' .. turn) == 0 then return 'unknown' end
  redis.call('HSET', 'ml:alive:' .. node, turn, attempt .. ' ' .. time)
  for i = first, last do tell(turn, args[i]) end
  return meta[3] and 'stop' or 'go'
end

-- ARGS: turn, node, attempt, 1 where this goes on from earlier entries, payload...
-- or, for all turns of a node that have something to say: *, node, and for each turn
--       turn, attempt, 1 where this goes on from earlier entries, number of payloads, payload...
-- Answers what the node should do next, of each turn. What Redis refuses for one turn is that turn's answer.
local function append(_, args)
  local node, time = args[2], now()
  if args[1] ~= '*' then return say(node, time, args[1], args[3], args[4], args, 5, #args) end
  local verdicts, i = {}, 3
  while i <= #args do
    local count = tonumber(args[i + 3])
    -- A number that led back would keep the server here for ever.
    if not count or count < 0 or count ~= math.floor(count) or i + 3 + count > #args then error('not a batch') end
    local last = i + 3 + count
    local took, verdict = pcall(say, node, time, args[i], args[i + 1], args[i + 2], args, i + 4, last)
    if not took and type(verdict) ~= 'table' then verdict = {err = tostring(verdict)} end
    verdicts[#verdicts + 1] = verdict
    i = last + 1
  end
  return verdicts
end

-- ARGS: turn, node, attempt, lease's time in ms, ms it is good for, seconds that signs of life are kept
-- A node takes up an attempt: once, and only while it is the newest. A turn that Redis has lost is taken up as it is,
-- unless the lease is so old that the turn ended long ago: then the broker has delivered its task once more.
local function begin(_, args)
  local turn, node, attempt = args[1], args[2], args[3]
  local meta = redis.call('HMGET', 'ml:turn:' .. turn, 'fence', 'node', 'stop', 'closed')
  local verdict = against(meta, node, attempt)
  if verdict and verdict ~= 'unknown' then return verdict end
  local alive = 'ml:alive:' .. node
  local begun = redis.call('HGET', alive, turn)
  if begun and tonumber(string.match(begun, '^%d+')) >= tonumber(attempt) then return 'repeat' end
  local time = now()
  if verdict and time - tonumber(args[4]) > tonumber(args[5]) then return 'stale' end
  redis.call('HSET', alive, turn, attempt .. ' ' .. time)
  redis.call('EXPIRE', alive, args[6])
  return meta[3] and 'stop' or 'go'
end

-- ARGS: turn, attempt, ttl seconds, payload
-- The platform ends a turn whose outcome is in PostgreSQL: once, whoever comes second changes nothing.
local function close(_, args)
  local meta, stream = 'ml:turn:' .. args[1], 'ml:stream:' .. args[1]
  if redis.call('HGET', meta, 'closed') then return 'closed' end
  redis.call('HSET', meta, 'closed', 1, 'fence', args[2])
  tell(args[1], args[4])
  redis.call('EXPIRE', meta, args[3])
  redis.call('EXPIRE', stream, args[3])
  return 'go'
end

-- ARGS: turn, attempt, ttl seconds, kind, at, end, payload
-- For what came through Discord. Checks the fence, marks the sign of life, and appends what begins exactly where the
-- attempt's text ends. Answers what the node should do next, how far the text goes now (-1: the attempt has not
-- started), and whether this went in.
local function relay(_, args)
  local turn, attempt, kind = args[1], args[2], args[4]
  local key = 'ml:turn:' .. turn
  local meta = redis.call('HMGET', key, 'fence', 'stop', 'closed', 'relayed')
  if kind == 'anew' then
    -- Redis lost the turn, or what it has is not the reply: an empty stream from byte 0 on.
    if meta[1] and tonumber(meta[1]) ~= tonumber(attempt) then return {'stale', -1, 0} end
    if meta[3] then return {'closed', -1, 0} end
    redis.call('HSET', key, 'fence', attempt)
    redis.call('HDEL', key, 'relayed')
    redis.call('DEL', 'ml:stream:' .. turn)
    meta[1], meta[4], kind = attempt, nil, 'started'
  end
  if not meta[1] then return {'unknown', -1, 0} end
  if tonumber(meta[1]) ~= tonumber(attempt) then return {'stale', -1, 0} end
  if meta[3] then return {'closed', -1, 0} end
  redis.call('HSET', key, 'seen', now())
  redis.call('EXPIRE', key, args[3])
  local have, took = -1, 0
  if meta[4] then
    local of, length = string.match(meta[4], '^(%d+) (%d+)$')
    if of == attempt then have = tonumber(length) end
  end
  if (kind == 'started' and have < 0) or (kind == 'delta' and have == tonumber(args[5])) then
    tell(turn, args[7])
    redis.call('EXPIRE', 'ml:stream:' .. turn, args[3])
    redis.call('HSET', key, 'relayed', attempt .. ' ' .. args[6])
    have, took = tonumber(args[6]), 1
  end
  return {meta[2] and 'stop' or 'go', have, took}
end

redis.register_function('ml_append', append)
redis.register_function('ml_begin', begin)
redis.register_function('ml_close', close)
redis.register_function('ml_relay', relay)
"""
