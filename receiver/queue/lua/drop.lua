#!lua flags=allow-oom
-- Takes a dead letter away and, where a job is given, queues that in its place. Where the payload is in a file, that is
-- no longer needed. A line that it held goes on.
--
-- KEYS: dead, dead letter, queue, wake
-- ARGV: dead letter id, prefix of unneeded files, then, or nothing, job id, job key, job
-- Returns 1, or 0 when it was gone already.

local dead, letter, queue, wake = unpack(KEYS)
local id, unneeded, job_id, job_key, job = unpack(ARGV)

if not redis.call('ZSCORE', dead, id) then return 0 end
local line, delivery, handler = unpack(redis.call('HMGET', letter, 'line', 'delivery', 'handler'))
local now = now_ms()
if job_id then
  redis.call('SET', job_key, job)
  redis.call('ZADD', queue, now, job_id)
  wake_up(wake)
end
if line then leave(queue, wake, line, delivery, handler, now, now) end
-- Last: should the server refuse a command in the middle, the dead letter is there.
release_file(letter, unneeded)
redis.call('ZREM', dead, id)
redis.call('DEL', letter)
return 1
