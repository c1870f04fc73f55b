-- Queues deliveries number ARGV[1] to ARGV[2]. ARGV[3]: prefix of their records; ARGV[4]: what each job holds.
for number = ARGV[1], ARGV[2] do
  local id = string.sub(redis.sha1hex(number), 1, 32)
  local job = id .. ':640f1f2f3f4f5'
  redis.call('HSET', ARGV[3] .. id, 'k', 'evt_' .. number, 's', 'event-id', 't', 'work_order.updated',
    'd', string.sub(id, 1, 16), 'a', '1760000000000000', 'u', 'work_order:wo_8241')
  redis.call('SET', 'arq:job:' .. job, ARGV[4])
  redis.call('ZADD', 'arq:queue', 1760000000000 + number / 4096, job)
end
