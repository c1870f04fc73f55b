#!lua flags=allow-oom
-- Writes what became of a delivery's handlers: outcomes, retry jobs, dead letters, counts; closes its record when
-- nothing is open. An outcome that was already recorded, or overtaken, changes nothing: safe to send again.
--
-- KEYS: queue, wake, counts, dead
-- ARGV[1]: msgpack list of {record, attempts, payload, job, window_ms, keep_ms, routed, transitions}; a transition is
--          {handler, attempt, state, error, job}, with {job_id, job_key, wait_ms} for a retry and
--          {dead_id, dead_key, about} for an end, and with {delivery, line} for an ordered handler; a retry
--          after attempt 0 is a delivery that waits for its turn
-- Returns 1 for each record that is closed, else 0.

local queue, wake, counts, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Whether what is recorded already covers a transition: a later attempt, or the same one unless it is done only now.
local function is_old(recorded, transition)
  if not recorded then return false end
  local state, attempt = string.match(recorded, '^(%a+) (%d+)')
  attempt = tonumber(attempt)
  if attempt ~= transition.attempt then return attempt > transition.attempt end
  return transition.state ~= 'done' or state == 'done'
end

local function enqueue(transition)
  local wait = transition.wait_ms
  if transition.line and transition.attempt == 0 and redis.call('ZRANGE', transition.line, 0, 0)[1] == transition.delivery then
    wait = 0 -- its turn came while it was being parked
  end
  redis.call('SET', transition.job_key, transition.job)
  redis.call('ZADD', queue, now + wait, transition.job_id)
  if wait == 0 then redis.call('RPUSH', wake, 1) end
end

-- The next in line may go: if its job was parked it is due now, else it will look for itself.
local function leave_line(transition)
  redis.call('ZREM', transition.line, transition.delivery)
  local following = redis.call('ZRANGE', transition.line, 0, 0)[1]
  if following and redis.call('ZADD', queue, 'XX', 'CH', now, following .. ':' .. transition.handler .. ':0') == 1 then
    redis.call('RPUSH', wake, 1)
  end
end

local function bury(transition)
  redis.call('HSET', transition.dead_key, 'kind', 'dead', 'job', transition.job, 'reason', transition.error,
    'handler', transition.handler, 'tries', transition.attempt, 'at', now, unpack(transition.about))
  redis.call('ZADD', dead, now, transition.dead_id)
end

-- A worker that was frozen and overtaken has finished what was given up on: there is nothing to replay.
local function unbury(transition)
  if redis.call('ZREM', dead, transition.dead_id) == 1 then
    redis.call('DEL', transition.dead_key)
    redis.call('HINCRBY', counts, transition.handler .. ' dead', -1)
  end
end

local function apply(item, transition)
  local recorded = redis.call('HGET', item.record, transition.handler)
  if is_old(recorded, transition) then return end
  redis.call('HSET', item.record, transition.handler, transition.state .. ' ' .. transition.attempt .. ' ' .. now)
  if transition.error ~= '' then
    redis.call('RPUSH', item.attempts,
      cmsgpack.pack({transition.handler, transition.attempt, now, transition.state, transition.error}))
    redis.call('LTRIM', item.attempts, -100, -1)
  end
  if transition.state == 'retry' then
    enqueue(transition)
  else
    redis.call('HINCRBY', counts, transition.handler .. ' ' .. transition.state, 1)
    if transition.state == 'dead' then bury(transition) elseif recorded then unbury(transition) end
    if transition.line then leave_line(transition) end
  end
end

local function close_if_nothing_is_open(item)
  local fields = redis.call('HGETALL', item.record)
  local routed = false
  for i = 1, #fields, 2 do
    if fields[i] == '*' then routed = true end
    if string.sub(fields[i + 1], 1, 6) == 'retry ' and string.find(fields[i], '.', 1, true) then return 0 end
  end
  if not routed then return 0 end
  redis.call('HDEL', item.record, 'u')
  redis.call('PEXPIRE', item.record, item.window_ms)
  redis.call('PEXPIRE', item.attempts, item.window_ms)
  if item.keep_ms > 0 and redis.call('COPY', item.job, item.payload, 'REPLACE') == 1 then
    redis.call('PEXPIRE', item.payload, item.keep_ms)
  end
  return 1
end

local closed = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  for _, transition in ipairs(item.transitions) do apply(item, transition) end
  if item.routed == 1 then redis.call('HSETNX', item.record, '*', 1) end
  closed[i] = close_if_nothing_is_open(item)
end
return closed
