-- What several scripts need; `scripts.py` puts it in front of each.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local BEHIND = 1000 -- ms by which the clock went back at least, if the last score is so far ahead
local LOOKED = 60000 -- ms; a worker that lives has read the lease clock since

-- Until when jobs are due: now, or the last score, as the clock may have gone back since, and scores divide a
-- millisecond. What has to wait is due so long after it.
--
-- While the clock is behind the last score, the time since a worker looked is added: else all that waits, such as a
-- retry, would wait until the clock has caught up, which after a moment in a wrong year is never.
local function queue_time(prefix, now)
  local last = tonumber(redis.call('GET', prefix .. 'order')) or 0
  if last - now <= BEHIND then return math.max(now, last) end
  local seen = tonumber(redis.call('HGET', prefix .. 'lease-clock', 'seen')) or now
  return last + math.min(math.max(now - seen, 0), LOOKED)
end

-- The lease clock counts the time in which somebody could have renewed: it advances by at most `stall` between two
-- calls, so that a Redis that was frozen or away does not take jobs from workers that are alive.
--
-- Returns what it reads, and the time of the queue.
local function lease_clock(key, now, stall)
  local prefix = string.sub(key, 1, -#'lease-clock' - 1)
  local due = queue_time(prefix, now)
  if due - now > BEHIND then redis.call('SET', prefix .. 'order', string.format('%.17g', due)) end
  local last = redis.call('HMGET', key, 'seen', 'reads')
  local reads = (tonumber(last[2]) or 0) + math.min(math.max(now - (tonumber(last[1]) or now), 0), stall)
  redis.call('HSET', key, 'seen', now, 'reads', reads)
  return reads, due
end

-- Adds to several fields of a hash: two calls for any number, because each call from a script costs as much as its work.
-- Returns how many of the fields are new.
local function add_all(key, added)
  local fields, sums = {}, {}
  for field in pairs(added) do fields[#fields + 1] = field end
  if #fields == 0 then return 0 end
  if #fields == 1 then
    local by = added[fields[1]]
    return redis.call('HINCRBY', key, fields[1], string.format('%d', by)) == by and 1 or 0
  end
  local held = redis.call('HMGET', key, unpack(fields))
  for i, field in ipairs(fields) do
    sums[2 * i - 1], sums[2 * i] = field, string.format('%d', (held[i] or 0) + added[field])
  end
  return redis.call('HSET', key, unpack(sums))
end

-- Counts for `/metrics`, and the same for `status`, of the ten minutes that are now; those are kept for 26 hours.
local function count_all(metrics, now, counted)
  add_all(metrics, counted)
  local ten_minutes = metrics .. ':' .. math.floor(now / 600000)
  if add_all(ten_minutes, counted) > 0 then redis.call('PEXPIRE', ten_minutes, 93600000) end
end

-- The file that holds a dead letter's payload, if one does, may be removed by the receiver that has it.
local function release_file(letter, unneeded)
  local folder, file = string.match(redis.call('HGET', letter, 'moved') or '', '^(%x+)/(.+)$')
  if folder then redis.call('SADD', unneeded .. folder, file) end
end

-- The first of a line of deliveries at a handler; nil when nobody stands in it.
local function first_in(line) return redis.call('ZRANGE', line, 0, 0)[1] end

-- When the next start at a handler may be (ms; 0: at any time): for each limit of `rate` (a count and its ms, in turn)
-- the start that is `count` before it is more than these ms old. `pace` has starts by time, promised ones among them;
-- `latest` leaves out those that are later. Behind a promise there is a twentieth of the time to spare: starts are a
-- little late, and those behind would come too early.
local function next_start(pace, rate, latest, now)
  local at = 0
  for i = 1, #rate, 2 do
    local found = redis.call('ZRANGE', pace, latest, '-inf', 'BYSCORE', 'REV', 'LIMIT', rate[i] - 1, 1, 'WITHSCORES')
    if found[2] then
      local nth, span = tonumber(found[2]), rate[i + 1]
      at = math.max(at, nth + span + 1 + (nth > now and math.floor(span / 20) or 0))
    end
  end
  return at
end

local MOST_WAKES = 32 -- where nobody pops them; each one too many is a claim that finds nothing

local function wake_up(wake)
  if redis.call('LLEN', wake) < MOST_WAKES then redis.call('RPUSH', wake, 1) end
end

-- A delivery that was parked because it waited in line is due at `at` (ms), unless it is earlier anyway. One that is not
-- parked will look for itself. A worker is woken in any case: it may not look before the job is due.
local function call(queue, wake, delivery, handler, at, now)
  local prefix = string.sub(queue, 1, -#'queue' - 1) -- the queue's name is the prefix and this word
  local job = delivery .. ':' .. handler .. ':0:' .. prefix
  if redis.call('ZADD', queue, 'XX', 'LT', 'CH', math.max(at, now), job) == 1 then wake_up(wake) end
end

-- A delivery leaves its line, and the next is called.
local function leave(queue, wake, line, delivery, handler, at, now)
  redis.call('ZREM', line, delivery)
  local first = first_in(line)
  if first then call(queue, wake, first, handler, at, now) end
end

-- Keeps a finished delivery's payload for `replay`; `kept` collects the entries of the list of them, and their bytes.
local function keep_payload(kept, prefix, delivery, job_key, keep, bytes, entry)
  local payload = prefix .. 'payload:' .. delivery
  if redis.call('COPY', job_key, payload, 'REPLACE') == 0 then return end
  redis.call('PEXPIRE', payload, keep)
  kept[#kept + 1] = entry
  kept.bytes = (kept.bytes or 0) + bytes
end

-- The oldest go once there are too many bytes. Those that have expired by themselves count until then: this is the only
-- place that looks.
local function stay_within(prefix, kept, most)
  local list, sum = prefix .. 'kept', prefix .. 'kept-bytes'
  redis.call('RPUSH', list, unpack(kept))
  local total, left = redis.call('INCRBY', sum, kept.bytes), 0
  if total <= most then return end
  repeat
    local oldest, gone = redis.call('LRANGE', list, left, left + 99), {}
    for _, one in ipairs(oldest) do
      if total <= most then break end
      local delivery, bytes = string.match(one, '^(%S+) (%d+)')
      total = total - bytes
      gone[#gone + 1] = prefix .. 'payload:' .. delivery
    end
    left = left + #gone
    if #gone > 0 then redis.call('DEL', unpack(gone)) end
  until #gone < 100
  redis.call('LTRIM', list, left, -1)
  redis.call('SET', sum, string.format('%d', total))
end
