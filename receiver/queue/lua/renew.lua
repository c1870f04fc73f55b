#!lua flags=allow-oom
-- Renews leases. Returns the ids of those that are no longer ours.
--
-- KEYS: leases, lease clock
-- ARGV: lease (ms), stall (ms), prefix of in-progress keys, then id and token of each

local leases, clock = KEYS[1], KEYS[2]
local lease, stall = tonumber(ARGV[1]), tonumber(ARGV[2])

local now = now_ms()
local reads = lease_clock(clock, now, stall)

local lost = {}
for i = 4, #ARGV, 2 do
  if redis.call('GET', ARGV[3] .. ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', leases, reads + lease, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
