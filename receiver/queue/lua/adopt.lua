#!lua flags=allow-oom
-- Moves a page of the queue of version 0.1, which all prefixes shared, to the queue of this prefix: the jobs whose
-- delivery has its record here. All others are somebody else's, and stay.
--
-- KEYS: old queue, queue, wake
-- ARGV: first place to look at, how many, prefix of delivery records, prefix of in-progress keys
-- Returns {next place, or 0 at the end; jobs moved}.

local old, queue, wake = KEYS[1], KEYS[2], KEYS[3]
local first, count, records, in_progress = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local jobs = redis.call('ZRANGE', old, first, first + count - 1, 'WITHSCORES')
local mine, moved = {}, {}
for i = 1, #jobs, 2 do
  local delivery = string.match(jobs[i], '^(%x+):') -- a job of arq's own has no colon in its id
  if delivery and #delivery == 24 and redis.call('EXISTS', records .. delivery) == 1
    and redis.call('EXISTS', in_progress .. jobs[i]) == 0 then
    mine[#mine + 1] = jobs[i]
    moved[#moved + 1] = jobs[i + 1]
    moved[#moved + 1] = jobs[i]
  end
end
if #mine > 0 then
  redis.call('ZADD', queue, unpack(moved))
  redis.call('ZREM', old, unpack(mine))
  wake_up(wake)
end
return {#jobs == 2 * count and first + count - #mine or 0, #mine}
