-- What became of a turn. KEYS[1] begins every key of the channel.
-- ARGV: token, pause ms (0: none), most failures (0: not a failure), outcome ('' keeps the cards queued), member, …
local base, token, pause, most, outcome = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('GET', base .. 'turn') == token then redis.call('DEL', base .. 'turn') end
-- The limit counts from the answer, not from the request: the channel saw the request earlier than that.
redis.call('ZADD', base .. 'times', 'XX', now, token)
if outcome == 'sent' then redis.call('DEL', base .. 'troubles') end
if pause > 0 and redis.call('PTTL', base .. 'paused') < pause then
  redis.call('SET', base .. 'paused', 1, 'PX', pause)
end

for i = 5, #ARGV do
  local member, becomes = ARGV[i], outcome
  if becomes == '' and most > 0 and redis.call('HINCRBY', base .. 'failures', member, 1) >= most then
    becomes = 'failed' -- it lets the others pass, and its own handler tries again later
  end
  if becomes ~= '' and redis.call('ZREM', base .. 'waiting', member) == 1 then
    for _, kept in ipairs({ 'cards', 'since', 'failures' }) do redis.call('HDEL', base .. kept, member) end
    redis.call('SET', base .. 'outcome:' .. member, becomes, 'PX', 86400000)
  end
end
redis.call('PEXPIRE', base .. 'failures', 86400000)
return 1
