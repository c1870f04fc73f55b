#!lua flags=allow-oom
-- Takes or renews the lease of the one process that alerts, and keeps what it knows of alerts.
--
-- KEYS: lease, state
-- ARGV: the process's id, lease (ms), and the state to keep, if any
-- Returns the state ('' at first), or nothing where another process has the lease. A state is kept only by the process
-- that has the lease: one that was frozen meanwhile would bring back an old state.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
if ARGV[3] and not holder then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[3] then redis.call('SET', KEYS[2], ARGV[3]) end
return redis.call('GET', KEYS[2]) or ''
