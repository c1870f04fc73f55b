#!lua flags=allow-oom
-- Renews leases. Returns the ids of those that are no longer ours.
--
-- KEYS: leases, lease clock
-- ARGV: lease (ms), stall (ms), prefix of in-progress keys, then id and token of each

local leases, clock = KEYS[1], KEYS[2]
local lease, stall = tonumber(ARGV[1]), tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('HMGET', clock, 'seen', 'reads')
local reads = (tonumber(last[2]) or 0) + math.min(math.max(now - (tonumber(last[1]) or now), 0), stall)
redis.call('HSET', clock, 'seen', now, 'reads', reads)

local lost = {}
for i = 4, #ARGV, 2 do
  if redis.call('GET', ARGV[3] .. ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', leases, reads + lease, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
