#!lua flags=allow-oom
-- Ends claims, each under its fence: whoever lost the lease changes nothing. Sent again after a lost reply, it finds
-- the claim ended and changes nothing either.
--
-- Where a delivery's first run was a success of all its handlers, their outcomes are written in the same step. Nobody
-- has started the job before and it still has its lease, so nobody has written anything of it yet: there is nothing to
-- read, as there is in record.lua.
--
-- KEYS: queue, leases, crashes, counts
-- ARGV[1]: prefixes of in-progress, retry, job and result keys and of the kit's keys, in msgpack
-- ARGV[2]: msgpack list of {id, token, how, score, wait_ms, result, result_ms, first}; how is done, again (after
--          wait_ms) or release (to the place in the queue that score is, which only this needs); first is {} or
--          {delivery, accepted (ms), window (ms), keep (ms), handlers, bytes of its job, its entry in the list of kept
--          payloads, bytes of these that are kept at most, the type that it is counted as}
-- Returns 1 for each claim that was ended now, else 0.

local queue, leases, crashes, counts = unpack(KEYS)
local in_progress, retry, job, result_prefix, prefix = unpack(cmsgpack.unpack(ARGV[1]))
local claims, ended = cmsgpack.unpack(ARGV[2]), {}
local now = now_ms()
local due = queue_time(prefix, now)

local holders = {}
for i, claim in ipairs(claims) do holders[i] = in_progress .. claim[1] end
holders = redis.call('MGET', unpack(holders))

local counted, measured, kept, most_kept = {}, {}, {}, 0
local function add(to, name) to[name] = (to[name] or 0) + 1 end
local function write_first(job_key, first)
  local delivery, accepted, window, keep, handlers, bytes, entry, most, event_type = unpack(first)
  local record, outcome, changes = prefix .. 'delivery:' .. delivery, 'done 1 ' .. now - accepted, {}
  for i, handler in ipairs(handlers) do
    changes[2 * i - 1], changes[2 * i] = handler, outcome
    add(counted, handler .. ' done')
    add(measured, 'ended ' .. handler .. ' done ' .. event_type)
  end
  redis.call('HDEL', record, 'u') -- routed; first, or the record would keep memory for it
  redis.call('HSET', record, unpack(changes))
  redis.call('PEXPIRE', record, window)
  most_kept = most
  if keep > 0 then keep_payload(kept, prefix, delivery, job_key, keep, bytes, entry) end
end

local ids, gone, waiting = {}, {}, {} -- collected, because each call from a script costs as much as its work
for i, claim in ipairs(claims) do
  local id, token, how, score, wait_ms, result, result_ms, first = unpack(claim)
  ended[i] = 0
  if holders[i] == token then
    ended[i] = 1
    if #first > 0 then write_first(job .. id, first) end
    ids[#ids + 1] = id
    gone[#gone + 1] = in_progress .. id
    if how == 'done' then
      gone[#gone + 1] = retry .. id
      gone[#gone + 1] = job .. id
      if result_ms > 0 then redis.call('SET', result_prefix .. id, result, 'PX', result_ms) end
      if result_ms < 0 then redis.call('SET', result_prefix .. id, result) end
    else
      waiting[#waiting + 1] = how == 'again' and string.format('%.17g', due + wait_ms) or score
      waiting[#waiting + 1] = id
      redis.call('INCRBY', retry .. id, how == 'again' and 1 or 0) -- released, it did not have its try
    end
  end
end

-- The tokens go last: should the server refuse a command in the middle, who sends it again finds them and ends it.
if #waiting > 0 then redis.call('ZADD', queue, unpack(waiting)) end
if #ids > 0 then
  redis.call('HDEL', crashes, unpack(ids))
  redis.call('ZREM', leases, unpack(ids))
  redis.call('DEL', unpack(gone))
end
if #kept > 0 then stay_within(prefix, kept, most_kept) end
if next(counted) then
  add_all(counts, counted)
  count_all(prefix .. 'metrics', now, measured)
end
return ended
