-- Remembers deliveries number ARGV[1] to ARGV[2] as handled by three handlers. ARGV[3]: prefix of their records.
for number = ARGV[1], ARGV[2] do
  local id = string.sub(redis.sha1hex(number), 1, 32)
  redis.call('HSET', ARGV[3] .. id, 'k', 'evt_' .. number, 's', 'event-id', 't', 'work_order.updated',
    'd', string.sub(id, 1, 16), 'a', '1760000000000000', '*', '1', 'handlers.first', 'done 1 1760000000000',
    'handlers.second', 'done 1 1760000000000', 'handlers.third', 'done 1 1760000000000')
  redis.call('PEXPIRE', ARGV[3] .. id, 604800000)
end
