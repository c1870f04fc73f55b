#!lua flags=allow-oom
-- Writes what became of a delivery's handlers: outcomes, retry jobs, dead letters, counts; closes its record when
-- nothing is open. An outcome that was already recorded, or overtaken, changes nothing: safe to send again.
--
-- KEYS: queue, wake, counts, dead
-- ARGV[1]: prefix of the kit's keys
-- ARGV[2]: msgpack list of deliveries, each {id, accepted (ms), window (ms), keep (ms), job key, routed, transitions,
--          bytes of its job, its entry in the list of kept payloads, the type that it is counted as}; a transition is
--          {handler, attempt, state}, with {error} (why) for all but done, with {trace} (where) for a failure, with
--          {job, job_id, job_key, wait_ms, class} for a retry, with {field, job, dead_id, dead_key, about, class} for a
--          dead letter; a class is a word that says why, for metrics. That of a handler in order has {line} where the
--          delivery stands in one, {pace, rate} where there is a rate, {start} (the token of a start that counts from
--          the end of its run), {leaves} when a retry lets the others pass, and {holds} when a dead letter does not. A
--          retry after attempt 0 is a delivery that waits for its turn. Where it could not be read, {lines} are those
--          that it may stand in: handler and line, in turn
-- ARGV[3]: bytes of finished deliveries' payloads that are kept at most
-- Returns 1 for each record that is closed, else 0.

local queue, wake, counts, dead, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local now = now_ms()
local due = queue_time(prefix, now)
local started = math.floor(due) -- as turn.lua has the time

local SOON = 500 -- ms; a worker may not look for so long by itself
local SUCCEEDED = {done = true, skipped = true}

-- Whether what is recorded already covers a transition: a later attempt, or the same one unless it succeeded only now.
local function is_old(recorded, transition)
  if not recorded then return false end
  local state, attempt = string.match(recorded, '^(%a+) (%d+)')
  attempt = tonumber(attempt)
  if attempt ~= transition.attempt then return attempt > transition.attempt end
  return not SUCCEEDED[transition.state] or SUCCEEDED[state] == true
end

local function may_start(transition)
  return transition.rate and next_start(transition.pace, transition.rate, '+inf', started) or 0
end

local function enqueue(delivery, transition)
  local wait = transition.wait_ms
  if transition.line and transition.attempt == 0 and first_in(transition.line) == delivery then
    wait = math.min(wait, math.max(0, may_start(transition) - started)) -- its turn came while it was being parked
  end
  redis.call('SET', transition.job_key, transition.job)
  redis.call('ZADD', queue, string.format('%.17g', due + wait), transition.job_id)
  if wait < SOON then wake_up(wake) end
end

-- The letter of an older event of the same key, whose record has expired, moves to an id of its own: it may differ.
local function make_way(dead_id, dead_key, accepted)
  local older, at = unpack(redis.call('HMGET', dead_key, 'accepted', 'at'))
  if not older or older == accepted then return end
  redis.call('COPY', dead_key, dead_key .. ':' .. older, 'REPLACE')
  redis.call('ZADD', dead, at, dead_id .. ':' .. older)
  redis.call('DEL', dead_key)
end

local function bury(transition)
  make_way(transition.dead_id, transition.dead_key, transition.about[#transition.about])
  redis.call('HSET', transition.dead_key, 'kind', 'dead', transition.field, transition.job,
    'reason', transition.error or '', 'handler', transition.handler, 'tries', transition.attempt, 'at', now, unpack(transition.about))
  if transition.holds then redis.call('HSET', transition.dead_key, 'line', transition.line) end
  redis.call('ZADD', dead, now, transition.dead_id)
end

local function unbury(delivery, handler)
  local id = delivery .. ':' .. handler
  local letter = dead .. ':' .. id
  release_file(letter, prefix .. 'unneeded:')
  redis.call('ZREM', dead, id)
  redis.call('DEL', letter)
end

-- Collected over the whole batch, because each call from a script costs as much as its work.
local counted, measured = {}, {}
local function count(name, by) counted[name] = (counted[name] or 0) + by end
local function measure(field) measured[field] = (measured[field] or 0) + 1 end

local function remember_reason(delivery, transition)
  local attempts = prefix .. 'attempts:' .. delivery
  redis.call('RPUSH', attempts,
    cmsgpack.pack({transition.handler, transition.attempt, now, transition.state, transition.error}))
  redis.call('LTRIM', attempts, -100, -1)
end

-- Where one runs at a time, its start counts from the end of the run: that is when the target may have seen it.
local function end_turn(delivery, transition)
  local handler, state, line = transition.handler, transition.state, transition.line
  if transition.start then redis.call('ZADD', transition.pace, 'XX', started, transition.start) end
  local stays = state == 'retry' and not transition.leaves or state == 'dead' and transition.holds
  if line and not stays then leave(queue, wake, line, delivery, handler, may_start(transition), started) end
  local lines = transition.lines or {}
  for i = 1, #lines, 2 do leave(queue, wake, lines[i + 1], delivery, lines[i], now, now) end
end

-- What the transition means for metrics: one that only waits for its turn is neither an end nor a retry.
local function measure_end(transition, event_type)
  local handler, state, class = transition.handler, transition.state, transition.class
  if state == 'retry' and (transition.attempt == 0 or not transition.error) then return end
  measure('ended ' .. handler .. ' ' .. (state == 'retry' and class or state) .. ' ' .. event_type)
  if state == 'dead' then measure('dead ' .. handler .. ' ' .. class) end
end

local function apply(delivery, transition, recorded, changes, about)
  local handler, state = transition.handler, transition.state
  local old = recorded[handler]
  if is_old(old, transition) then return end
  if old and string.sub(old, 1, 5) == 'dead ' then -- two ran it, and the one that was overtaken succeeded
    unbury(delivery, handler)
    count(handler .. ' dead', -1)
  end
  recorded[handler] = state .. ' ' .. transition.attempt .. ' ' .. now - about.accepted
  changes[#changes + 1] = handler
  changes[#changes + 1] = recorded[handler]
  if transition.error then remember_reason(delivery, transition) end
  if transition.trace then
    redis.call('HSET', prefix .. 'trace:' .. delivery, handler, transition.trace)
    redis.call('PEXPIRE', prefix .. 'trace:' .. delivery, about.window)
  end
  measure_end(transition, about.event_type)
  if state == 'retry' then
    enqueue(delivery, transition)
  else
    count(handler .. ' ' .. state, 1)
    if state == 'dead' then bury(transition) end
  end
  end_turn(delivery, transition)
end

local function is_open(recorded)
  if recorded.u then return true end -- not routed yet
  for field, value in pairs(recorded) do
    if string.sub(value, 1, 6) == 'retry ' and string.find(field, '.', 1, true) then return true end
  end
  return false
end

local kept = {}
local function write(item)
  local delivery, accepted, window, keep, job_key, routed, transitions, bytes, entry, event_type = unpack(item)
  local record = prefix .. 'delivery:' .. delivery
  local fields, recorded, changes = redis.call('HGETALL', record), {}, {}
  for i = 1, #fields, 2 do recorded[fields[i]] = fields[i + 1] end
  local about = {accepted = accepted, window = window, event_type = event_type}
  for _, transition in ipairs(transitions) do apply(delivery, transition, recorded, changes, about) end
  if #changes > 0 then redis.call('HSET', record, unpack(changes)) end
  if routed == 1 and recorded.u then
    recorded.u = nil
    redis.call('HDEL', record, 'u')
  end
  if is_open(recorded) then return 0 end
  redis.call('PEXPIRE', record, window)
  redis.call('PEXPIRE', prefix .. 'attempts:' .. delivery, window)
  if keep > 0 then keep_payload(kept, prefix, delivery, job_key, keep, bytes, entry) end
  return 1
end

local closed = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[2])) do closed[i] = write(item) end
if #kept > 0 then stay_within(prefix, kept, tonumber(ARGV[3])) end
add_all(counts, counted)
count_all(prefix .. 'metrics', now, measured)
return closed
