"""The Lua of the fair queue, as a library of Redis functions: each choice is one step, whichever process takes it."""

from typing import Final

STRIDE: Final = 2520
"""What a turn costs a person of weight 1; divisible by every weight up to 10, so that shares are whole numbers."""

SOURCE: Final = """#!lua name=mlqueue
local RING, WAITING, LEASES, NODES = 'ml:queue:ring', 'ml:queue:waiting', 'ml:leases', 'ml:nodes'
local LAST, CLOCK, SHARES, HELD, CHANGED = 'ml:queue:last', 'clock', 'ml:queue:shares', 'ml:queue:held', 'ml:queue:changed'
local DRAINING = 'ml:nodes:draining'
local STRIDE, LOOK = 2520, 32

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whoever tells people their place hears that it may have changed.
local function changed()
  if redis.call('EXISTS', RING) == 0 then return end
  redis.call('LPUSH', CHANGED, 1)
  redis.call('LTRIM', CHANGED, 0, 0)
end

local function free(turn, node)
  if node then
    redis.call('SREM', 'ml:leased:' .. node, turn)
    redis.call('HDEL', 'ml:alive:' .. node, turn)
  end
  redis.call('ZREM', LEASES, turn)
  redis.call('HDEL', HELD, turn)
end

local function share(user)
  local found = redis.call('HGET', SHARES, user)
  if not found then return STRIDE, 0 end
  local weight, most = string.match(found, '^(%d+) (%d+)$')
  return math.floor(STRIDE / tonumber(weight)), tonumber(most)
end

local function whole(number) return string.format('%.0f', number) end

-- Who joins stands behind those who have waited as long for their share: at the clock, or where they left off.
local function tag(user)
  local clock = tonumber(redis.call('HGET', LAST, CLOCK) or 0)
  return math.max(clock, tonumber(redis.call('HGET', LAST, user) or 0))
end

local function join(user, at)
  local number = redis.call('HINCRBY', LAST, 'number', 1)
  redis.call('ZADD', RING, string.format('%.6f', at + (number % 1000000) / 1000000), user)
end

local function leave(user)
  redis.call('ZREM', RING, user)
  redis.call('HDEL', SHARES, user)
  if redis.call('EXISTS', RING) == 0 then redis.call('DEL', LAST) end
end

local function drop(user, turn)
  redis.call('LREM', 'ml:queue:user:' .. user, 1, turn)
  redis.call('SREM', WAITING, turn)
end

-- ARGS: turn, user, session, next attempt, affinity, front, ttl seconds, weight, most at once (0: no limit), model,
--       tokens a day that its user may use ('' where it may run whatever they used)
-- Puts a turn into its user's queue, once. A lease that it still holds is taken away first: this is its next attempt.
local function enqueue(_, args)
  local turn, user, key = args[1], args[2], 'ml:turn:' .. args[1]
  if redis.call('SISMEMBER', WAITING, turn) == 1 then return 0 end
  local meta = redis.call('HMGET', key, 'fence', 'node')
  if meta[1] and tonumber(meta[1]) >= tonumber(args[4]) then return 0 end
  free(turn, meta[2])
  redis.call('HSET', key, 'user', user, 'session', args[3], 'next', args[4], 'affinity', args[5], 'model', args[10],
    'daily', args[11] or '')
  redis.call('EXPIRE', key, args[7])
  redis.call('SADD', WAITING, turn)
  redis.call('HSET', SHARES, user, args[8] .. ' ' .. args[9])
  redis.call(args[6] == '1' and 'LPUSH' or 'RPUSH', 'ml:queue:user:' .. user, turn)
  if args[6] == '1' then
    -- It had its turn and lost its node: nobody is to wait for that twice.
    redis.call('ZADD', RING, -1, user)
  elseif not redis.call('ZSCORE', RING, user) then
    join(user, tag(user))
  end
  changed()
  return 1
end

local function nodes()
  local found, any = {}, false
  for _, name in ipairs(redis.call('SMEMBERS', NODES)) do
    local said = redis.call('HMGET', 'ml:node:' .. name, 'state', 'slots', 'lane', 'model')
    if said[1] == 'ready' and redis.call('SISMEMBER', DRAINING, name) == 0 then
      local left = (tonumber(said[2]) or 0) - redis.call('SCARD', 'ml:leased:' .. name)
      if left > 0 then
        found[name] = {left = left, lane = said[3] or 'queue', model = said[4] or ''}
        any = true
      end
    end
  end
  return any and found
end

-- The node that has the conversation at hand where it is free; else the one with the most room. Never another model.
local function suited(found, affinity, model)
  local function fits(node) return node and (model == '' or node.model == model) end
  if fits(found[affinity]) then return affinity end
  local best
  for name, node in pairs(found) do
    if fits(node) and (not best or node.left > found[best].left or (node.left == found[best].left and name < best)) then
      best = name
    end
  end
  return best
end

local function running()
  local count = {}
  for _, user in ipairs(redis.call('HVALS', HELD)) do count[user] = (count[user] or 0) + 1 end
  return count
end

-- A turn whose user has used up the day, or of whose use nothing is known, is not given out: it is let go of, and the
-- sweeper ends it, or lets it wait again once it is known that there is something left.
local function spent(user, daily, day)
  if not daily or daily == '' then return false end
  local used = redis.pcall('GET', 'ml:used:' .. user .. ':' .. day)
  used = type(used) == 'string' and tonumber(used)
  return not used or used >= tonumber(daily)
end

-- ARGS: ttl seconds, day
-- The next user, their oldest turn that a free node can take, and that node: leased and fenced in one step.
-- Answers turn, attempt, session, node, lane, time in ms, and whether there may be more to give out.
local function pick(_, args)
  local found = nodes()
  if not found then return nil end
  local held
  for _, user in ipairs(redis.call('ZRANGE', RING, 0, -1)) do
    local queue = 'ml:queue:user:' .. user
    local stride, most = share(user)
    if most > 0 then held = held or running() end
    if most == 0 or (held[user] or 0) < most then
      for _, turn in ipairs(redis.call('LRANGE', queue, 0, LOOK - 1)) do
        local key = 'ml:turn:' .. turn
        local meta = redis.call('HMGET', key, 'next', 'session', 'affinity', 'model', 'daily')
        if not meta[1] then
          drop(user, turn)
        else
          local node = suited(found, meta[3] or '', meta[4] or '')
          if node and spent(user, meta[5], args[2]) then
            drop(user, turn)
          elseif node then
            local score, time = tonumber(redis.call('ZSCORE', RING, user)), now()
            drop(user, turn)
            if score >= 0 then
              local at = math.floor(score)
              redis.call('HSET', LAST, CLOCK, whole(math.max(at, tonumber(redis.call('HGET', LAST, CLOCK) or 0))))
              redis.call('HSET', LAST, user, whole(at + stride))
            end
            redis.call('HSET', key, 'fence', meta[1], 'node', node, 'lane', found[node].lane, 'seen', time)
            redis.call('HDEL', key, 'place')
            redis.call('EXPIRE', key, args[1])
            redis.call('SADD', 'ml:leased:' .. node, turn)
            redis.call('ZADD', LEASES, time, turn)
            redis.call('HSET', HELD, turn, user)
            if redis.call('LLEN', queue) > 0 then join(user, tag(user)) else leave(user) end
            changed()
            return {turn, meta[1], meta[2], node, found[node].lane, time, redis.call('EXISTS', RING)}
          end
        end
      end
    end
    if redis.call('LLEN', queue) == 0 then leave(user) end
  end
end

-- ARGS: turn, user
-- Takes a waiting turn out of the queue; answers 1 where it was there.
local function remove(_, args)
  if redis.call('SISMEMBER', WAITING, args[1]) == 0 then return 0 end
  drop(args[2], args[1])
  if redis.call('LLEN', 'ml:queue:user:' .. args[2]) == 0 then leave(args[2]) end
  changed()
  return 1
end

-- ARGS: turn, attempt, node as PostgreSQL knows it
-- Gives back the slot that an attempt holds; a newer attempt's slot stays.
local function release(_, args)
  local meta = redis.call('HMGET', 'ml:turn:' .. args[1], 'fence', 'node')
  if meta[1] and tonumber(meta[1]) > tonumber(args[2]) then return 0 end
  free(args[1], meta[2])
  if args[3] ~= '' then free(args[1], args[3]) end
  changed()
  return 1
end

-- ARGS: turn, attempt, node, lane, user, session, ttl seconds
-- Writes the lease of a running turn as PostgreSQL has it, where Redis has lost it; what is there stays as it is. Answers 1
-- where it had lost all of it. A frame that comes first lays down no more than the fence: its node's slot is taken here.
local function restore(_, args)
  local turn, key, node = args[1], 'ml:turn:' .. args[1], args[3]
  redis.call('EXPIRE', 'ml:stream:' .. turn, args[7])
  if redis.call('SISMEMBER', WAITING, turn) == 1 then return 0 end
  local meta = redis.call('HMGET', key, 'fence', 'closed')
  if meta[1] and (meta[1] ~= args[2] or meta[2] or redis.call('ZSCORE', LEASES, turn)) then return 0 end
  local time = now()
  redis.call('HSET', key, 'fence', args[2], 'node', node, 'lane', args[4], 'user', args[5], 'session', args[6], 'seen', time)
  redis.call('EXPIRE', key, args[7])
  redis.call('SADD', 'ml:leased:' .. node, turn)
  redis.call('ZADD', LEASES, time, turn)
  redis.call('HSET', HELD, turn, args[5])
  return meta[1] and 0 or 1
end

-- A slot that is taken by a turn without a lease is taken by nobody; answers how many there were.
local function free_lost()
  local freed = 0
  local function lost(turn) return not redis.call('ZSCORE', LEASES, turn) end
  for _, name in ipairs(redis.call('SMEMBERS', NODES)) do
    local taken = 'ml:leased:' .. name
    for _, turn in ipairs(redis.call('SMEMBERS', taken)) do
      if lost(turn) then freed = freed + redis.call('SREM', taken, turn) end
    end
  end
  for _, turn in ipairs(redis.call('HKEYS', HELD)) do
    if lost(turn) then redis.call('HDEL', HELD, turn) end
  end
  return freed
end

-- ARGS: most turns
-- The waiting turns in the order in which they will be taken: turn, user, session, next attempt, model, place as told.
local function waiting(_, args)
  local most, line = tonumber(args[1]), {}
  local ring = redis.call('ZRANGE', RING, 0, -1, 'WITHSCORES')
  for i = 1, #ring, 2 do
    local user, score = ring[i], tonumber(ring[i + 1])
    local stride = share(user)
    local start = score >= 0 and score or tag(user) - stride
    for k, turn in ipairs(redis.call('LRANGE', 'ml:queue:user:' .. user, 0, most - 1)) do
      line[#line + 1] = {(k == 1) and score or start + (k - 1) * stride, turn, user}
    end
  end
  table.sort(line, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  local found = {}
  for i = 1, math.min(most, #line) do
    local turn = line[i][2]
    local meta = redis.call('HMGET', 'ml:turn:' .. turn, 'session', 'next', 'model', 'place')
    found[i] = {turn, line[i][3], meta[1] or '', meta[2] or '', meta[3] or '', meta[4] or ''}
  end
  return found
end

redis.register_function('ml_enqueue', enqueue)
redis.register_function('ml_pick_all', function(keys, args)
  local found = {}
  for i = 1, tonumber(args[2]) do
    found[i] = pick(keys, {args[1], args[3]})
    if not found[i] then break end
  end
  return found
end)
redis.register_function('ml_enter', function(keys, args)
  -- A turn comes in, and the next one, which need not be the same, is given out: one round trip for both.
  return {enqueue(keys, args), pick(keys, {args[7], args[12]}) or false}
end)
redis.register_function('ml_remove', remove)
redis.register_function('ml_release', release)
redis.register_function('ml_restore', restore)
redis.register_function('ml_free_lost', free_lost)
redis.register_function('ml_waiting', waiting)
"""
