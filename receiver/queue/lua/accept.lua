-- Claims the idempotency key of each delivery and writes its arq job, or counts a duplicate: all or nothing.
-- Everything here is idempotent, so a caller who lost the reply sends the same batch again and gets the truth.
--
-- Records are written last: should the server refuse a command in the middle (an access control list that was changed),
-- there is never a record without its job, and the batch that is sent again writes what is missing.
--
-- In front of it: duplicates.lua, which keeps what is known of duplicates and conflicts.
--
-- KEYS: queue, order, wake, dead, recent, counts, metrics, doubtful
-- ARGV[1]: msgpack list of deliveries, each {record, job_key, job_id, digest, accepted_at, key, source, type,
--          subject, job, conflict_key, conflict_id}
-- ARGV[2]: the types that are counted by name, with a blank before and behind each: a sender may have any number of others
-- Returns one number for each: 1 stored, 2 duplicate, 3 conflict (same key, other bytes).

local queue, order, wake, dead, recent, counts, metrics, doubtful = unpack(KEYS)
local types = ARGV[2]
local MOST_RECENT = 10000 -- at least; twice that at most, about 40 bytes each
local acceptances, duplicates, conflicts, notes = {}, 0, 0, {}

local now = now_ms()
-- Scores rise strictly even within a millisecond or when the clock goes back; a double holds 1/4096 ms exactly.
local score = math.max(now, tonumber(redis.call('GET', order) or 0))

local function counted_as(event_type)
  local is_one = not string.find(event_type, ' ', 1, true) and string.find(types, ' ' .. event_type .. ' ', 1, true)
  return is_one and event_type or 'other'
end

local counted = {}
local function count(field, by) counted[field] = (counted[field] or 0) + by end

local accepted = {} -- by type
local stored, queued, mine = {}, {}, {} -- collected: each call from a script costs as much as its work
local function store(delivery)
  redis.call('SET', delivery[2], delivery[10])
  score = score + 1 / 4096
  queued[#queued + 1] = string.format('%.17g', score)
  queued[#queued + 1] = delivery[3]
  stored[#stored + 1] = delivery
  mine[delivery[1]] = delivery
  accepted[delivery[8]] = (accepted[delivery[8]] or 0) + 1
  return 1
end

local LATE = 5000 -- ms behind its acceptance: it waited in a spool
local function write_record(delivery)
  local record, source, at = delivery[1], delivery[7], delivery[5]
  redis.call('HSET', record, 'k', delivery[6], 't', delivery[8], 'd', delivery[4], 'a', delivery[5], 'u', delivery[9])
  if source ~= 'event-id' then redis.call('HSET', record, 's', source) end -- what nearly all have need not be said
  if source ~= 'conflict' and now - at / 1000 > LATE then redis.call('HSET', record, 'q', now) end
end

for i, delivery in ipairs(cmsgpack.unpack(ARGV[1])) do
  local record, digest, at = delivery[1], delivery[4], delivery[5]
  local first = mine[record] -- its record is still to be written, but for what was counted since
  local first_digest, first_at = unpack(redis.call('HMGET', record, 'd', 'a'))
  if first then first_digest, first_at = first[4], first[5] end
  if not first_digest then
    acceptances[i] = store(delivery)
  elseif first_digest ~= digest then
    if keep_conflict(delivery, first_digest, dead, now) then
      conflicts = conflicts + 1
      count('conflicts ' .. counted_as(delivery[8]) .. ' ' .. delivery[7], 1)
    end
    acceptances[i] = 3
  elseif first_at == at then
    acceptances[i] = 1 -- the very same acceptance, sent again because its reply was lost
  else
    note_duplicate(record, now)
    duplicates = duplicates + 1
    count('duplicates ' .. counted_as(delivery[8]) .. ' ' .. delivery[7], 1)
    note_if_doubtful(notes, delivery, first_at)
    acceptances[i] = 2
  end
end

if #stored > 0 then
  redis.call('ZADD', queue, unpack(queued))
  for _, delivery in ipairs(stored) do write_record(delivery) end
  redis.call('HINCRBY', counts, 'accepted', #stored)
  wake_up(wake)
  local names = {}
  for i = math.max(1, #stored - MOST_RECENT + 1), #stored do names[#names + 1] = stored[i][1] end
  if redis.call('RPUSH', recent, unpack(names)) > 2 * MOST_RECENT then redis.call('LTRIM', recent, -MOST_RECENT, -1) end
end
-- In any case, for who found everything stored already: a WAIT behind this waits for a write, and for all before it.
redis.call('SET', order, string.format('%.17g', score))
if #notes > 0 then write_notes(doubtful, notes) end
if duplicates > 0 then redis.call('HINCRBY', counts, 'duplicates', duplicates) end
if conflicts > 0 then redis.call('HINCRBY', counts, 'conflicts', conflicts) end
for event_type, number in pairs(accepted) do count('accepted ' .. counted_as(event_type), number) end
count_all(metrics, now, counted)
return acceptances
