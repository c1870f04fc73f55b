#!lua flags=allow-oom
-- Claims due jobs under a lease: jobs whose lease ran out first, then the queue in order. A full Redis must still
-- be drained, hence allow-oom.
--
-- Claims take jobs in the order of acceptance, so this is also where a delivery gets its place in the line of every
-- handler in order that it goes to.
--
-- A job leaves the queue last, once it is among the leases: a command that the server refuses in the middle (an access
-- control list that was changed) strands none. One that has a token and no lease was left so, and is taken.
--
-- Asked again with the same token, because the reply was lost, it answers with the same jobs: nothing is claimed for a
-- worker that does not know of it.
--
-- KEYS: queue, leases, lease clock, crashes, claimed (the token of the worker's last claim)
-- ARGV: want, bytes after which no more is taken, lease (ms), stall (ms), token, alone (1: a job under suspicion may be
--       taken), prefixes of in-progress, retry and job keys, prefix of the kit's keys, JSON of the handlers in order by
--       event type: each with what it has a line for, subject or handler ('' if there are none)
-- Returns a flat list: the ms until another job is due (-1 where there is none, or more may be due already), then id,
-- score, tries, crashes, fresh (1: never started before), data (false when it is gone) for each job.

local queue, leases, clock, crashes, last_claim = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local want, room, lease, stall = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local token, alone, in_progress, retry, job, prefix = unpack(ARGV, 5, 10)
local lines = ARGV[11] ~= '' and cjson.decode(ARGV[11])

local now = now_ms()
local reads, until_now = lease_clock(clock, now, stall)

-- The retry key holds the starts that counted before this one; it is there, if only as a 0, once a job was started.
local claimed, leased, ids, count = {-1}, {}, {}, 0
local function hand_out(id, score, lost, may_be_fresh)
  local about = redis.call('MGET', job .. id, retry .. id)
  local n = #claimed
  claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4] = id, score, (tonumber(about[2]) or 0) + 1, lost
  claimed[n + 5], claimed[n + 6] = (may_be_fresh and not about[2]) and 1 or 0, about[1]
  leased[#leased + 1] = reads + lease
  leased[#leased + 1] = id
  ids[#ids + 1] = id
  count = count + 1
  room = room - #(about[1] or '')
end
local function has_room() return count < want and room > 0 end

if redis.call('GET', last_claim) == token then
  for _, id in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    if redis.call('GET', in_progress .. id) == token then
      hand_out(id, tostring(now), tonumber(redis.call('HGET', crashes, id) or 0), false)
    end
  end
  if count > 0 then
    redis.call('ZADD', leases, unpack(leased))
    redis.call('ZREM', queue, unpack(ids))
  end
  return claimed
end

-- A delivery that was given back may have had its turn already: in line again, it would hold up all behind it.
local function stand_in_line(id, score)
  local delivery = string.match(id, '^(%x+):%x+$') -- a delivery's own job; a handler's retry has its place already
  if not delivery then return end
  local record = prefix .. 'delivery:' .. delivery
  local about = redis.call('HMGET', record, 't', 'u')
  local subject = about[2]
  if not subject then return end -- it was routed
  for _, handlers in ipairs({lines[about[1]] or {}, lines['*'] or {}}) do
    for handler, by in pairs(handlers) do
      if (by == 'handler' or subject ~= '') and not redis.call('HGET', record, handler) then
        local line = prefix .. 'turn:' .. handler .. (by == 'subject' and ':' .. subject or '')
        redis.call('ZADD', line, 'NX', score, delivery)
      end
    end
  end
end

-- A job that was running when its worker was lost twice is under suspicion: one at a time, so that it takes no
-- other suspect with it the third time. They do not keep others from being claimed: hence no limit but what runs.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', reads)) do
  if not has_room() then break end
  local lost = tonumber(redis.call('HGET', crashes, id) or 0) + 1
  if lost < 2 or alone == '1' then
    if lost >= 2 then alone = '0' end
    redis.call('INCRBY', retry .. id, 1)
    redis.call('SET', in_progress .. id, token)
    hand_out(id, tostring(now), lost, false)
    redis.call('ZADD', leases, reads + lease, id) -- first: were it refused, each call would count a crash
    redis.call('HSET', crashes, id, lost)
  end
end

local function is_left_over(id)
  local holder = redis.call('GET', in_progress .. id)
  return #holder == #token and not redis.call('ZSCORE', leases, id)
end
local taken, skipped = 0, 0 -- a stock arq worker on the same queue leaves what it runs in there
while has_room() do
  local asked = want - count
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', until_now, 'WITHSCORES', 'LIMIT', skipped + taken, asked)
  for i = 1, #due, 2 do
    if not has_room() then break end
    local id = due[i]
    if redis.call('SET', in_progress .. id, token, 'NX')
      or is_left_over(id) and redis.call('SET', in_progress .. id, token) then
      taken = taken + 1
      if lines then stand_in_line(id, due[i + 1]) end
      hand_out(id, due[i + 1], 0, true)
    else
      skipped = skipped + 1
    end
  end
  if #due < 2 * asked then break end
end
if count > 0 then
  redis.call('ZADD', leases, unpack(leased))
  redis.call('SET', last_claim, token, 'EX', 3600)
  redis.call('ZREM', queue, unpack(ids))
end
if has_room() then
  local next_due = redis.call('ZRANGEBYSCORE', queue, '(' .. string.format('%.17g', until_now), '+inf', 'WITHSCORES',
    'LIMIT', 0, 1)[2]
  if next_due then claimed[1] = math.ceil(next_due - until_now) end
end
return claimed
