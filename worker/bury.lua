#!lua flags=allow-oom
-- Keeps a job that is not the kit's, or cannot be read, among the dead letters. Sent again, it is the same one.
--
-- KEYS: dead, dead letter
-- ARGV: dead letter id, field of the payload, payload, reason

local dead, letter = KEYS[1], KEYS[2]
local id, field, job, reason = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('HSET', letter, 'kind', 'job', field, job, 'reason', reason, 'at', now)
redis.call('ZADD', dead, now, id)
return 1
