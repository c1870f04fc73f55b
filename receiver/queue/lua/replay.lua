#!lua flags=allow-oom
-- Runs a handler again, from its dead letter or, forced, from what is kept of a finished delivery: one atomic step, so
-- that two replays at once make one job. Where the dead letter's payload is in a file, that is no longer needed.
-- The state '' is that of a handler that has not run for a delivery: so it is given one that no receiver has accepted.
--
-- KEYS: queue, wake, counts, dead, record
-- ARGV: handler, attempt, state it must be in, job id, job key, job, dead letter id, dead letter key, prefix of
--       unneeded files, then names and values of the record's fields, for a record that has expired meanwhile
-- Returns 1, or 0 when the handler is not in that state (any more).

local queue, wake, counts, dead, record = unpack(KEYS)
local handler, attempt, state, job_id, job_key, job, dead_id, dead_key, unneeded = unpack(ARGV, 1, 9)

local now = now_ms()

if state == 'dead' then
  if not redis.call('ZSCORE', dead, dead_id) then return 0 end
elseif string.match(redis.call('HGET', record, handler) or '', '^%a*') ~= state then
  return 0
end
if redis.call('EXISTS', record) == 0 then redis.call('HSET', record, '*', 1) end -- it had been closed
for i = 10, #ARGV, 2 do
  if not redis.call('HGET', record, ARGV[i]) then redis.call('HSET', record, ARGV[i], ARGV[i + 1]) end
end
if string.find(handler, '.', 1, true) then
  local accepted = math.floor(tonumber(redis.call('HGET', record, 'a') or 0) / 1000)
  redis.call('HSET', record, handler, 'retry ' .. attempt .. ' ' .. now - accepted)
else
  redis.call('HDEL', record, handler) -- it was never routed: its whole job runs again
  redis.call('HSET', record, 'u', '')
end
redis.call('PERSIST', record)
redis.call('SET', job_key, job)
redis.call('ZADD', queue, now, job_id)
wake_up(wake)
if state ~= '' then redis.call('HINCRBY', counts, handler .. ' ' .. state, -1) end
if state == 'dead' then -- last: should the server refuse a command in the middle, the dead letter is there
  release_file(dead_key, unneeded)
  redis.call('ZREM', dead, dead_id)
  redis.call('DEL', dead_key)
end
return 1
