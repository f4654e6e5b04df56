"""The Lua that keeps a turn's stream true: what it checks and what it writes happen in one step."""

from typing import Final

APPEND: Final = """
-- KEYS: meta, stream   ARGV: attempt, channel, ttl seconds, payload...
-- Checks the fence, marks the sign of life, appends and publishes every payload; answers what the node should do next.
local meta = redis.call('HMGET', KEYS[1], 'fence', 'stop', 'closed')
if not meta[1] then return 'unknown' end
if tonumber(meta[1]) ~= tonumber(ARGV[1]) then return 'stale' end
if meta[3] then return 'closed' end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'seen', now[1] * 1000 + math.floor(now[2] / 1000))
for i = 4, #ARGV do
  local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[i])
  redis.call('PUBLISH', ARGV[2], id .. ' ' .. ARGV[i])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
if meta[2] then return 'stop' end
return 'go'
"""

BEGIN: Final = """
-- KEYS: meta, stream   ARGV: attempt, channel, ttl seconds, lease's time in ms, ms it is good for
-- A node takes up an attempt: once, and only while it is the newest. A turn that Redis has lost is taken up as it is,
-- unless the lease is so old that the turn ended long ago: then the broker has delivered its task once more.
local meta = redis.call('HMGET', KEYS[1], 'fence', 'stop', 'closed', 'begun')
if meta[1] and tonumber(meta[1]) ~= tonumber(ARGV[1]) then return 'stale' end
if meta[3] then return 'closed' end
if meta[4] and tonumber(meta[4]) >= tonumber(ARGV[1]) then return 'repeat' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not meta[1] and now - tonumber(ARGV[4]) > tonumber(ARGV[5]) then return 'stale' end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'begun', ARGV[1], 'seen', now)
redis.call('EXPIRE', KEYS[1], ARGV[3])
if meta[2] then return 'stop' end
return 'go'
"""

SEED: Final = """
-- KEYS: meta, stream   ARGV: attempt, channel, ttl seconds, payload...
-- Redis lost the turn: the node that writes it, and has the whole text, lays its stream anew from byte 0.
local meta = redis.call('HMGET', KEYS[1], 'fence', 'closed')
if meta[1] and tonumber(meta[1]) ~= tonumber(ARGV[1]) then return 'stale' end
if meta[2] then return 'closed' end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'begun', ARGV[1], 'seen', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('DEL', KEYS[2])
for i = 4, #ARGV do
  local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[i])
  redis.call('PUBLISH', ARGV[2], id .. ' ' .. ARGV[i])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 'go'
"""

CLOSE: Final = """
-- KEYS: meta, stream   ARGV: attempt, channel, ttl seconds, payload
-- The platform ends a turn whose outcome is in PostgreSQL: once, whoever comes second changes nothing.
if redis.call('HGET', KEYS[1], 'closed') then return 'closed' end
redis.call('HSET', KEYS[1], 'closed', 1, 'fence', ARGV[1])
local id = redis.call('XADD', KEYS[2], '*', 'e', ARGV[4])
redis.call('PUBLISH', ARGV[2], id .. ' ' .. ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 'go'
"""
