#!lua flags=allow-oom
-- Whose turn is it? Queues the caller's card once, and hands out the head of the queue when the channel may have it.
--
-- KEYS[1] begins every key of one channel. ARGV: me ('' has no card here), accepted (µs), attempt, entry, token,
-- lease ms, settle ms, digest above (0: never), digest window ms, then pairs of count and window ms: no more than so
-- many in so long.
-- Returns {'outcome', text} | {'wait', ms, ahead} | {'send', member, entry} | {'digest', member, entry, member, …}
-- The same token gets the same answer again, because a client whose reply got lost asks twice.
local base, me, accepted, attempt, token = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting, cards, since = base .. 'waiting', base .. 'cards', base .. 'since'
local WEEK, HOUR = 7 * 86400 * 1000, 3600 * 1000

-- An outcome is for the attempt that reads it first, and for its re-run should it crash right then. A later attempt,
-- which is a retry or a replay that somebody asked for, sends the card again.
local function outcome_for_me()
  local outcome = base .. 'outcome:' .. me
  local text, read_by, of = unpack(redis.call('HMGET', outcome, 'text', 'attempt', 'accepted'))
  if not text then return end
  if read_by and (of ~= accepted or tonumber(attempt) > tonumber(read_by)) then
    redis.call('DEL', outcome)
    return
  end
  redis.call('HSET', outcome, 'attempt', read_by or attempt, 'accepted', accepted)
  redis.call('PEXPIRE', outcome, HOUR)
  return text
end

if me ~= '' then
  local outcome = outcome_for_me()
  if outcome then return { 'outcome', outcome } end
  if redis.call('ZADD', waiting, 'NX', accepted, me) == 1 then
    redis.call('HSET', cards, me, ARGV[4])
    redis.call('HSET', since, me, now)
    for _, key in ipairs({ waiting, cards, since }) do redis.call('PEXPIRE', key, WEEK) end
  end
end

local function wait(milliseconds)
  local ahead = me ~= '' and redis.call('ZRANK', waiting, me) or 0
  return { 'wait', math.ceil(milliseconds), ahead }
end

local head = redis.call('ZRANGE', waiting, 0, 0)
if #head == 0 then return wait(0) end

local paused = redis.call('PTTL', base .. 'paused')
if paused > 0 then return wait(paused) end

local holder = redis.call('GET', base .. 'turn')
if holder and holder ~= token then return wait(50) end

local longest = 0
if not holder then
  local due = now
  for i = 10, #ARGV, 2 do
    local count, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    longest = math.max(longest, window)
    local nth = redis.call('ZREVRANGE', base .. 'times', count - 1, count - 1, 'WITHSCORES')
    if nth[2] then due = math.max(due, tonumber(nth[2]) + window + 1) end
  end
  if due > now then return wait(due - now) end
end

local function queued_at(member) return tonumber(redis.call('HGET', since, member) or 0) end

local above, window = tonumber(ARGV[8]), tonumber(ARGV[9])
local this = math.floor(now / window)
local members, kind = head, 'send'
if above > 0 then
  if not holder and tonumber(redis.call('GET', base .. 'singles:' .. this) or 0) >= above then
    return wait(window - now % window) -- enough single cards: the rest of this window's go into one
  end
  if tonumber(redis.call('GET', base .. 'singles:' .. (this - 1)) or 0) >= above then
    local rest = {}
    for _, member in ipairs(redis.call('ZRANGE', waiting, 0, 999)) do
      if queued_at(member) < this * window then rest[#rest + 1] = member end
    end
    if #rest > 1 then members, kind = rest, 'digest' end
  end
end

-- Handlers that run side by side queue their cards within moments of each other: a head waits that long for an
-- earlier one, because order is by acceptance.
local age = now - queued_at(members[1])
if age < tonumber(ARGV[7]) then return wait(tonumber(ARGV[7]) - age) end

redis.call('SET', base .. 'turn', token, 'PX', ARGV[6])
redis.call('ZADD', base .. 'times', now, token)
redis.call('ZREMRANGEBYSCORE', base .. 'times', '-inf', now - longest)
redis.call('PEXPIRE', base .. 'times', longest + 1000)
if above > 0 and not holder then
  redis.call('INCR', base .. 'singles:' .. this)
  redis.call('PEXPIRE', base .. 'singles:' .. this, 2 * window)
end
local answer = { kind }
for _, member in ipairs(members) do
  answer[#answer + 1] = member
  answer[#answer + 1] = redis.call('HGET', cards, member) or '{}'
end
return answer
