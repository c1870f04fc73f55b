#!lua flags=allow-oom
-- Adds what a process has counted since it last did, and keeps what it says of itself. Sent again, it is added once.
--
-- KEYS: metrics, processes
-- ARGV: the process's id, number of this report (from 1), msgpack of {field = by}, msgpack of {field = time (s)} of which
--       the latest stays, what the process says of itself (JSON), ms after which a silent process is forgotten
-- Returns 1.

local metrics, processes = KEYS[1], KEYS[2]
local id, number, about, forgotten = ARGV[1], tonumber(ARGV[2]), ARGV[5], tonumber(ARGV[6])
local now = now_ms()

local function last_number()
  return tonumber(string.match(redis.call('HGET', processes, id) or '', '^%d+ (%d+)') or 0)
end

if last_number() < number then add_all(metrics, cmsgpack.unpack(ARGV[3])) end
for field, at in pairs(cmsgpack.unpack(ARGV[4])) do
  if at > tonumber(redis.call('HGET', metrics, field) or 0) then
    redis.call('HSET', metrics, field, string.format('%d', at))
  end
end
if number == 1 then -- a process that was killed could not say that it ends
  local told = redis.call('HGETALL', processes)
  for i = 1, #told, 2 do
    if now - tonumber(string.match(told[i + 1], '^%d+')) > forgotten then redis.call('HDEL', processes, told[i]) end
  end
end
redis.call('HSET', processes, id, now .. ' ' .. number .. ' ' .. about)
return 1
