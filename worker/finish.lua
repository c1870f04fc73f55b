#!lua flags=allow-oom
-- Ends claims, each under its fence: whoever lost the lease changes nothing. Sent again after a lost reply, it finds
-- the claim ended and changes nothing either.
--
-- KEYS: queue, leases, crashes
-- ARGV[1]: prefixes of in-progress, retry, job and result keys, in msgpack
-- ARGV[2]: msgpack list of {id, token, how, score, result, result_ms}; how is done, again or release
-- Returns 1 for each claim that was ended now, else 0.

local queue, leases, crashes = KEYS[1], KEYS[2], KEYS[3]
local in_progress, retry, job, result_prefix = unpack(cmsgpack.unpack(ARGV[1]))
local ended = {}

for i, claim in ipairs(cmsgpack.unpack(ARGV[2])) do
  local id, token, how, score, result, result_ms = unpack(claim)
  ended[i] = 0
  if redis.call('GET', in_progress .. id) == token then
    ended[i] = 1
    redis.call('DEL', in_progress .. id)
    redis.call('ZREM', leases, id)
    redis.call('HDEL', crashes, id)
    if how == 'done' then
      redis.call('DEL', retry .. id, job .. id)
      if result_ms > 0 then redis.call('SET', result_prefix .. id, result, 'PX', result_ms) end
      if result_ms < 0 then redis.call('SET', result_prefix .. id, result) end
    else
      redis.call('ZADD', queue, score, id)
      if how == 'release' then redis.call('DECR', retry .. id) end -- it did not have its try
    end
  end
end
return ended
