#!lua flags=allow-oom
-- Keeps a job that is not the kit's, or cannot be read, among the dead letters. Sent again, it is the same one.
--
-- KEYS: dead, dead letter, metrics
-- ARGV: dead letter id, field of the payload, payload, reason

local dead, letter, metrics = unpack(KEYS)
local id, field, job, reason = unpack(ARGV)

local now = now_ms()

redis.call('HSET', letter, 'kind', 'job', field, job, 'reason', reason, 'at', now)
if redis.call('ZADD', dead, now, id) == 1 then redis.call('HINCRBY', metrics, 'dead none buried', 1) end
return 1
