-- Stores a packet: as a whole or not at all, once however often it is repeated.
-- Returns 1 when it is new, 0 when it was there, -1 when the store is full.
local packets, history, cells, expiry, withdrawn, meta =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, bytes, path, record, severity, expires, withdraws =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local now, packets_max, purge_max, index = ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11]

local function coarse(exact)
  return string.match(exact, '^(.*)/[^/]*/[^/]*$')
end

-- The second half of a key is the packet that is withdrawn, the first its publisher.
local function each_withdrawn(keys, change)
  for at = 1, #keys, 64 do
    local key = string.sub(keys, at, at + 63)
    change(key, redis.call('HGET', withdrawn, key) or '')
  end
end

local function forget_withdrawals(keys, by)
  each_withdrawn(keys, function(key, value)
    local rest = ''
    for at = 1, #value, 32 do
      local one = string.sub(value, at, at + 31)
      if one ~= by then rest = rest .. one end
    end
    if rest == '' then
      redis.call('HDEL', withdrawn, key)
    else
      redis.call('HSET', withdrawn, key, rest)
    end
  end)
end

-- Takes out what an entry of the history brought. Others may have written what is read here.
local function forget(entry)
  redis.call('ZREM', expiry, entry)
  local found = redis.pcall('XRANGE', history, entry, entry)
  if found.err or not found[1] then return end
  local list, field = found[1][2], {}
  for at = 1, #list, 2 do field[list[at]] = list[at + 1] end
  redis.call('XDEL', history, entry)
  local cell = field.c and coarse(field.c)
  if not (field.i and field.r and field.w and cell) then return end
  redis.call('HDEL', packets, field.i)
  redis.pcall('ZREM', index .. cell, field.r)
  if redis.call('EXISTS', index .. cell) == 0 then redis.call('SREM', cells, cell) end
  forget_withdrawals(field.w, field.i)
end

-- Whatever has another type than it should fails here, before anything is changed.
local cell = coarse(path)
redis.call('XLEN', history)
redis.call('SCARD', cells)
redis.call('ZCARD', expiry)
redis.call('ZCARD', index .. cell)
redis.call('HLEN', withdrawn)
redis.call('HLEN', meta)
if redis.call('HGET', packets, id) == bytes then return 0 end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, purge_max)) do
  forget(entry)
end
if redis.call('HLEN', packets) >= packets_max then return -1 end

local entry = redis.call('XADD', history, '*', 'i', id, 'c', path, 'r', record, 'w', withdraws)
redis.call('HSET', packets, id, bytes)
redis.call('ZADD', expiry, expires, entry)
redis.call('ZADD', index .. cell, severity, record)
if redis.call('SADD', cells, cell) == 1 then redis.call('HSET', meta, 'cells', entry) end
each_withdrawn(withdraws, function(key, value)
  redis.call('HSET', withdrawn, key, value .. id)
end)
return 1
