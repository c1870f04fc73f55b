#!lua flags=allow-oom
-- Takes a dead letter's payload out of Redis, once it is in a file: leaves a note of where.
--
-- KEYS: dead letter, folders
-- ARGV: field of the payload, its bytes, when the letter was written, the folder's name, the file, where the folder is
-- Returns 1, or 0 when the letter is gone or another one by now.

local letter, folders = KEYS[1], KEYS[2]
local field, bytes, at, folder, file, where = unpack(ARGV)
local note = folder .. '/' .. file

local held = redis.call('HMGET', letter, 'at', 'moved')
if held[2] == note then return 1 end -- asked again, because the reply was lost
if held[1] ~= at or redis.call('HSTRLEN', letter, field) ~= tonumber(bytes) then return 0 end
redis.call('HSET', folders, folder, where)
redis.call('HSET', letter, 'moved', note)
redis.call('HDEL', letter, field)
return 1
