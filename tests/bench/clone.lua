-- Clones a delivery, and its job if there is one, under ids number ARGV[1] to ARGV[2].
-- ARGV: first, last, prefix of records, length of an id, prefix of jobs, end of a job's id, what a job holds ('' for
--       none), lifetime of a record (ms; -1 for ever), then names and values of the record's fields
local fields = { unpack(ARGV, 9) }
for number = ARGV[1], ARGV[2] do
  local id = string.sub(redis.sha1hex(number), 1, ARGV[4])
  local record, job = ARGV[3] .. id, id .. ARGV[6]
  redis.call('HSET', record, unpack(fields))
  if tonumber(ARGV[8]) > 0 then redis.call('PEXPIRE', record, ARGV[8]) end
  if ARGV[7] ~= '' then
    redis.call('SET', ARGV[5] .. job, ARGV[7])
    redis.call('ZADD', 'glartek:queue', 1760000000000 + number / 4096, job)
  end
end
