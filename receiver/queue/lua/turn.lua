#!lua flags=allow-oom
-- Whether a handler may have a delivery now: nobody is ahead of it in its line, or it does not stand there, and the
-- rate allows a start. Go is noted as a start in the same step, for all workers.
--
-- Whoever is ahead and will never come (done or dead under another route table, dropped, forgotten) is taken out.
--
-- A delivery that has to wait for the rate is promised a start, so that many who wait come one by one and not all at
-- once. When its time has come only what has really started counts; if that is too much already, it is promised another
-- one, after all others.
--
-- KEYS: line, pace, queue, wake
-- ARGV: delivery, handler, token (of this question: asked again, it takes no second start), prefix of delivery records,
--       prefix of dead letters where one holds the line, else '', then the rate: a count and its ms, in turn
-- Returns the ms to wait; 0 is go.

local line, pace, queue, wake = unpack(KEYS)
local delivery, handler, token, records, letters = unpack(ARGV, 1, 5)
local rate, longest = {}, 0
local now = math.floor(queue_time(string.sub(queue, 1, -#'queue' - 1), now_ms())) -- whole ms, as the answer
for i = 6, #ARGV do rate[i - 5] = tonumber(ARGV[i]) end
for i = 2, #rate, 2 do longest = math.max(longest, rate[i]) end

local function will_come(other)
  local told = redis.call('HMGET', records .. other, 'a', 'u', handler)
  local open = told[1] and (told[3] and string.sub(told[3], 1, 6) == 'retry ' or not told[3] and told[2])
  return open or letters ~= '' and redis.call('EXISTS', letters .. other .. ':' .. handler) == 1
end

local function note(at, member)
  redis.call('ZADD', pace, at, member)
  local old = redis.call('ZRANGEBYSCORE', pace, '-inf', now - longest - 1, 'LIMIT', 0, 1000)
  if #old > 0 then redis.call('ZREM', pace, unpack(old)) end
  local newest = redis.call('ZRANGE', pace, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIRE', pace, math.max(newest - now, 0) + longest + 1000)
end

if redis.call('ZSCORE', line, delivery) then
  local first = first_in(line)
  while first ~= delivery and not will_come(first) do
    redis.call('ZREM', line, first)
    first = first_in(line)
  end
  if first ~= delivery then
    -- Normally it is called. Should that have failed, all of a line together look about once a second, or once a minute
    -- where few stand in it, and call the first.
    call(queue, wake, first, handler, next_start(pace, rate, '+inf', now), now)
    return 60000 + 1000 * redis.call('ZCARD', line)
  end
end

if #rate == 0 or redis.call('ZSCORE', pace, token) then return 0 end
local promised = tonumber(redis.call('ZSCORE', pace, delivery) or '')
if promised and promised > now then return promised - now end
if promised then redis.call('ZREM', pace, delivery) end
if next_start(pace, rate, promised and now or '+inf', now) <= now then
  note(now, token)
  return 0
end
local at = next_start(pace, rate, '+inf', now)
note(at, delivery)
return at - now
