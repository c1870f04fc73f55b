-- Counts one sample of a type: which fields it has. A field is `<first> <last> <count> <first ms> <last ms>`, where first
-- and last are numbers of samples. A sample that is sent again counts twice, which changes no verdict.
--
-- KEYS: fields of the type
-- ARGV: msgpack list of paths, fields that are kept at most, ms until all is forgotten
-- Returns the paths that are new.

local fields = KEYS[1]
local paths, most, expiry = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()

local sample = redis.call('HINCRBY', fields, 'samples', 1)
local known = tonumber(redis.call('HGET', fields, 'known') or 0)
local changes, new = {}, {}
for _, path in ipairs(paths) do
  local old = redis.call('HGET', fields, '.' .. path)
  local first, count, since = string.match(old or '', '^(%d+) %d+ (%d+) (%d+)')
  if old or known < most then
    if not old then
      known = known + 1
      new[#new + 1] = path
    end
    changes[#changes + 1] = '.' .. path
    changes[#changes + 1] = string.format('%d %d %d %.0f %.0f', first or sample, sample, (count or 0) + 1, since or now, now)
  end
end
redis.call('HSET', fields, 'known', known, 'last', now, unpack(changes))
if sample == 1 then redis.call('HSET', fields, 'since', now) end
redis.call('PEXPIRE', fields, expiry)
return new
