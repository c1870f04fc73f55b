#!lua flags=allow-oom
-- What became of a turn. KEYS[1] begins every key of the channel.
-- ARGV: token, outcome ('' keeps the cards queued), least pause ms, first pause ms (0: the channel is well; else it
-- doubles with each trouble), longest pause ms, jitter (0 to 1), most failures (0: it is not the card's fault),
-- member, …
-- Safe to send again: only a turn that is still held counts as a trouble.
local base, token, outcome = KEYS[1], ARGV[1], ARGV[2]
local pause, first, longest, jitter, most = unpack(ARGV, 3, 7)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local WEEK, HOUR = 7 * 86400 * 1000, 3600 * 1000

local held = redis.call('GET', base .. 'turn') == token
if held then redis.call('DEL', base .. 'turn') end
-- The limit counts from the answer, not from the request: the channel saw the request earlier than that.
redis.call('ZADD', base .. 'times', 'XX', now, token)
if outcome == 'sent' then redis.call('DEL', base .. 'troubles') end

if held and tonumber(first) > 0 then
  local troubles = redis.call('INCR', base .. 'troubles')
  redis.call('PEXPIRE', base .. 'troubles', HOUR)
  local backed_off = math.min(first * 2 ^ math.min(troubles - 1, 20), longest) * (1 + jitter) / 2
  pause = math.ceil(math.max(pause, backed_off))
  if redis.call('PTTL', base .. 'paused') < pause then redis.call('SET', base .. 'paused', 1, 'PX', pause) end
end

for i = 8, #ARGV do
  local member, becomes = ARGV[i], outcome
  if held and becomes == '' and tonumber(most) > 0 then
    if redis.call('HINCRBY', base .. 'failures', member, 1) >= tonumber(most) then
      becomes = 'failed' -- it lets the others pass, and its own handler tries again later
    end
    redis.call('PEXPIRE', base .. 'failures', WEEK)
  end
  if becomes ~= '' and redis.call('ZREM', base .. 'waiting', member) == 1 then
    for _, kept in ipairs({ 'cards', 'since', 'failures' }) do redis.call('HDEL', base .. kept, member) end
    redis.call('DEL', base .. 'outcome:' .. member)
    redis.call('HSET', base .. 'outcome:' .. member, 'text', becomes)
    redis.call('PEXPIRE', base .. 'outcome:' .. member, WEEK)
  end
end
return 1
