-- What several scripts need; `scripts.py` puts it in front of each.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The lease clock counts the time in which somebody could have renewed: it advances by at most `stall` between two
-- calls, so that a Redis that was frozen or away does not take jobs from workers that are alive.
local function lease_clock(key, now, stall)
  local last = redis.call('HMGET', key, 'seen', 'reads')
  local reads = (tonumber(last[2]) or 0) + math.min(math.max(now - (tonumber(last[1]) or now), 0), stall)
  redis.call('HSET', key, 'seen', now, 'reads', reads)
  return reads
end

-- The file that holds a dead letter's payload, if one does, may be removed by the receiver that has it.
local function release_file(letter, unneeded)
  local folder, file = string.match(redis.call('HGET', letter, 'moved') or '', '^(%x+)/(.+)$')
  if folder then redis.call('SADD', unneeded .. folder, file) end
end

