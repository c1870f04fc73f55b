#!lua flags=no-writes
-- Everything that /metrics tells of the queue, at one moment.
--
-- KEYS: metrics, counts, processes, queue, leases, dead
-- Returns {now (ms), jobs that are due, jobs that wait for their time, age of the oldest that is due (ms), jobs that run,
-- dead letters, metrics, counts, processes}; the last three are flat lists of field and value.

local metrics, counts, processes, queue, leases, dead = unpack(KEYS)
local now = now_ms()
local until_now = queue_time(string.sub(metrics, 1, -#'metrics' - 1), now)

local function score(place) return tonumber(redis.call('ZRANGE', queue, place, place, 'WITHSCORES')[2]) end

-- By halving: ZCOUNT would be one more permission that a Redis user needs.
local waiting = redis.call('ZCARD', queue)
local due, later = 0, waiting
while due < later do
  local middle = math.floor((due + later) / 2)
  if score(middle) <= until_now then due = middle + 1 else later = middle end
end
local age = due > 0 and math.max(0, math.floor(until_now - score(0))) or 0

return {
  now, due, waiting - due, age, redis.call('ZCARD', leases), redis.call('ZCARD', dead), redis.call('HGETALL', metrics),
  redis.call('HGETALL', counts), redis.call('HGETALL', processes)
}
