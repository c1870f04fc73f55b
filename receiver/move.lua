#!lua flags=allow-oom
-- Takes a dead letter's payload out of Redis, once it is in a file: leaves a note of where.
--
-- KEYS: dead letter
-- ARGV: field of the payload, its bytes, when the letter was written, the note
-- Returns 1, or 0 when the letter is gone or another one by now.

local letter = KEYS[1]
local field, bytes, at, note = unpack(ARGV)

local held = redis.call('HMGET', letter, 'at', 'moved')
if held[2] == note then return 1 end -- asked again, because the reply was lost
if held[1] ~= at or redis.call('HSTRLEN', letter, field) ~= tonumber(bytes) then return 0 end
redis.call('HSET', letter, 'moved', note)
redis.call('HDEL', letter, field)
return 1
