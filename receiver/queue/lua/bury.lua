#!lua flags=allow-oom
-- Keeps a job that is not the kit's, or cannot be read, among the dead letters. Sent again, it is the same one.
--
-- KEYS: dead, dead letter
-- ARGV: dead letter id, field of the payload, payload, reason

local dead, letter = KEYS[1], KEYS[2]
local id, field, job, reason = unpack(ARGV)

local now = now_ms()

redis.call('HSET', letter, 'kind', 'job', field, job, 'reason', reason, 'at', now)
redis.call('ZADD', dead, now, id)
return 1
