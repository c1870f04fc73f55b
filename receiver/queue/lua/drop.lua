#!lua flags=allow-oom
-- Takes a dead letter away and, where a job is given, queues that in its place. Where the payload is in a file, that is
-- no longer needed.
--
-- KEYS: dead, dead letter, queue, wake
-- ARGV: dead letter id, prefix of unneeded files, then, or nothing, job id, job key, job
-- Returns 1, or 0 when it was gone already.

local dead, letter, queue, wake = unpack(KEYS)
local id, unneeded, job_id, job_key, job = unpack(ARGV)

if redis.call('ZREM', dead, id) == 0 then return 0 end
release_file(letter, unneeded)
redis.call('DEL', letter)
if job_id then
  redis.call('SET', job_key, job)
  redis.call('ZADD', queue, now_ms(), job_id)
  redis.call('RPUSH', wake, 1)
end
return 1
