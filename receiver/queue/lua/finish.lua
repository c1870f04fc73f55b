#!lua flags=allow-oom
-- Ends claims, each under its fence: whoever lost the lease changes nothing. Sent again after a lost reply, it finds
-- the claim ended and changes nothing either.
--
-- KEYS: queue, leases, crashes, order
-- ARGV[1]: prefixes of in-progress, retry, job and result keys, in msgpack
-- ARGV[2]: msgpack list of {id, token, how, score, wait_ms, result, result_ms}; how is done, again (after wait_ms) or
--          release (to the place in the queue that score is)
-- Returns 1 for each claim that was ended now, else 0.

local queue, leases, crashes, order = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local in_progress, retry, job, result_prefix = unpack(cmsgpack.unpack(ARGV[1]))
local claims, ended = cmsgpack.unpack(ARGV[2]), {}
local now = now_ms()
local due = math.max(now, tonumber(redis.call('GET', order)) or 0) -- as claims see it

local holders = {}
for i, claim in ipairs(claims) do holders[i] = in_progress .. claim[1] end
holders = redis.call('MGET', unpack(holders))

local ids, gone, waiting = {}, {}, {} -- collected, because each call from a script costs as much as its work
for i, claim in ipairs(claims) do
  local id, token, how, score, wait_ms, result, result_ms = unpack(claim)
  ended[i] = 0
  if holders[i] == token then
    ended[i] = 1
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

if #ids > 0 then
  redis.call('DEL', unpack(gone))
  redis.call('ZREM', leases, unpack(ids))
  redis.call('HDEL', crashes, unpack(ids))
end
if #waiting > 0 then redis.call('ZADD', queue, unpack(waiting)) end
return ended
