-- Whose turn is it? Queues the caller's card once, and hands out the head of the queue when the channel may have it.
--
-- KEYS[1] begins every key of one channel. ARGV: me, order, entry, token, lease ms, settle ms,
-- digest above (0: never), digest window ms, then pairs of count and window ms: no more than so many in so long.
-- Returns {'outcome', text} | {'wait', ms, ahead} | {'send', member, entry} | {'digest', member, entry, member, …}
-- The same token gets the same answer again, because a client whose reply got lost asks twice.
local base, me, token = KEYS[1], ARGV[1], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting, cards, since = base .. 'waiting', base .. 'cards', base .. 'since'
local WEEK = 7 * 86400 * 1000

local outcome = redis.call('GET', base .. 'outcome:' .. me)
if outcome then
  -- Read once: a retry, or a replay asked for later, sends the card again. Sent stays a moment for a reply that got lost.
  redis.call('PEXPIRE', base .. 'outcome:' .. me, outcome == 'sent' and 10000 or 0)
  return { 'outcome', outcome }
end

if redis.call('ZADD', waiting, 'NX', ARGV[2], me) == 1 then
  redis.call('HSET', cards, me, ARGV[3])
  redis.call('HSET', since, me, now)
  for _, key in ipairs({ waiting, cards, since }) do redis.call('PEXPIRE', key, WEEK) end
end

local function wait(milliseconds)
  return { 'wait', math.ceil(milliseconds), redis.call('ZRANK', waiting, me) }
end

local paused = redis.call('PTTL', base .. 'paused')
if paused > 0 then return wait(paused) end

local holder = redis.call('GET', base .. 'turn')
if holder and holder ~= token then return wait(50) end

local longest = 0
if not holder then
  local due = now
  for i = 9, #ARGV, 2 do
    local count, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    longest = math.max(longest, window)
    local nth = redis.call('ZREVRANGE', base .. 'times', count - 1, count - 1, 'WITHSCORES')
    if nth[2] then due = math.max(due, tonumber(nth[2]) + window + 1) end
  end
  if due > now then return wait(due - now) end
end

local above, window = tonumber(ARGV[7]), tonumber(ARGV[8])
local this = math.floor(now / window)
local members, kind = redis.call('ZRANGE', waiting, 0, 0), 'send'
if above > 0 then
  if tonumber(redis.call('GET', base .. 'singles:' .. this) or 0) >= above then
    return wait(window - now % window) -- enough single cards: the rest of this window's go into one
  end
  if tonumber(redis.call('GET', base .. 'singles:' .. (this - 1)) or 0) >= above then
    local rest = {}
    for _, member in ipairs(redis.call('ZRANGE', waiting, 0, 999)) do
      if tonumber(redis.call('HGET', since, member)) < this * window then rest[#rest + 1] = member end
    end
    if #rest > 1 then members, kind = rest, 'digest' end
  end
end

-- Handlers that run side by side queue their cards within moments of each other: a head waits that long for an
-- earlier one, because order is by acceptance.
local age = now - tonumber(redis.call('HGET', since, members[1]))
if age < tonumber(ARGV[6]) then return wait(tonumber(ARGV[6]) - age) end

redis.call('SET', base .. 'turn', token, 'PX', ARGV[5])
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
  answer[#answer + 1] = redis.call('HGET', cards, member)
end
return answer
