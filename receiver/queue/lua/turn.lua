#!lua flags=allow-oom
-- Whether it is a delivery's turn at an ordered handler: nobody is ahead of it in its line, or it never stood there.
-- Whoever is ahead and will never come (done or dead under another route table, forgotten) is taken out.
--
-- KEYS: line
-- ARGV: delivery, handler, prefix of delivery records
-- Returns 1 or 0.

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
while true do
  local ahead = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if ahead == ARGV[1] then return 1 end
  local told = redis.call('HMGET', ARGV[3] .. ahead, 'a', 'u', ARGV[2])
  local open = told[1] and (told[3] and string.sub(told[3], 1, 5) == 'retry' or not told[3] and told[2])
  if open then return 0 end
  redis.call('ZREM', KEYS[1], ahead)
end
