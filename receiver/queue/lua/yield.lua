#!lua flags=allow-oom
-- Forgets finished deliveries' payloads, oldest first, until so many bytes are free.
--
-- KEYS: kept, kept bytes
-- ARGV: bytes to free, prefix of payloads
-- Returns the bytes that were freed.

local list, sum, payload = KEYS[1], KEYS[2], ARGV[2]
local wanted, freed, off = tonumber(ARGV[1]), 0, 0
local now = now_ms()

repeat
  local oldest, gone = redis.call('LRANGE', list, 0, 99), {}
  for _, one in ipairs(oldest) do
    if freed >= wanted then break end
    local delivery, bytes, expires = string.match(one, '^(%S+) (%d+) (%d+)$')
    off = off + bytes
    if tonumber(expires) > now then freed = freed + bytes end -- else it is gone already
    gone[#gone + 1] = payload .. delivery
  end
  if #gone > 0 then
    redis.call('DEL', unpack(gone))
    redis.call('LTRIM', list, #gone, -1)
  end
until #gone < 100
if off > 0 then redis.call('INCRBY', sum, string.format('%d', -off)) end
return freed
