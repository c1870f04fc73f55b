-- Looks through dead letters, oldest first, for payloads that are still here.
--
-- KEYS: dead
-- ARGV: first place, how many, prefix of dead letters, least bytes
-- Returns {next place, or 0 at the end; then id, field and bytes of each}.

local first, count, letter, least = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local ids = redis.call('ZRANGE', KEYS[1], first, first + count - 1)
local found = {#ids == count and first + count or 0}
for _, id in ipairs(ids) do
  for _, field in ipairs({'job', 'zjob'}) do
    local bytes = redis.call('HSTRLEN', letter .. id, field)
    if bytes >= least then
      found[#found + 1] = id
      found[#found + 1] = field
      found[#found + 1] = bytes
    end
  end
end
return found
