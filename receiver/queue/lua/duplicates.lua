-- What is kept of a delivery whose key is known already; `scripts.py` puts it in front of accept.lua, which calls it.
-- A delivery is the list that accept.lua takes.

local MOST_CONFLICTS = 10 -- of one key kept whole; further ones are counted
local MOST_DOUBTFUL, MOST_DOUBTFUL_BYTES, LARGE = 1000, 8388608, 65536
local TIMES = 139 -- characters: those of the last ten duplicates

-- Keeps a conflict beside the dead letters. Returns false if it is there already.
local function keep_conflict(delivery, first_digest, dead, now)
  local record, _, _, digest, at, key, source, type, _, job, conflict_key, conflict_id = unpack(delivery)
  if redis.call('EXISTS', conflict_key) == 1 then return false end
  if tonumber(redis.call('HGET', record, 'c') or 0) < MOST_CONFLICTS then
    redis.call('HSET', conflict_key, 'kind', 'conflict', 'job', job, 'key', key, 'source', source, 'type', type,
      'at', now, 'digest', digest, 'first_digest', first_digest, 'accepted', at)
    redis.call('ZADD', dead, now, conflict_id)
  end
  redis.call('HINCRBY', record, 'c', 1)
  return true
end

-- Counts a duplicate in the record, and keeps when it came.
local function note_duplicate(record, now)
  local count, times = unpack(redis.call('HMGET', record, 'n', 'l'))
  times = (times and times .. ' ' or '') .. string.format('%d', now)
  redis.call('HSET', record, 'n', string.format('%d', (count or 0) + 1), 'l', string.sub(times, -TIMES))
end

-- Collects duplicates that are known by content alone, and may be other events that read alike. Of `body` the payload is
-- the first's; of `body-without:` it may differ, and is noted, too, unless it is large.
local function note_if_doubtful(notes, delivery, first_at)
  local source, job = delivery[7], delivery[10]
  local differs = string.sub(source, 1, 13) == 'body-without:'
  if not differs and source ~= 'body' then return end
  local note = cmsgpack.pack({delivery[3], source, delivery[8], first_at, differs and #job <= LARGE and job or ''})
  notes[#notes + 1] = note
  notes.bytes = (notes.bytes or 0) + #note
end

-- Writes the collected ones; the oldest go once there are too many of them, or too many bytes.
local function write_notes(doubtful, notes)
  local sum = doubtful .. '-bytes'
  local surplus = redis.call('RPUSH', doubtful, unpack(notes)) - MOST_DOUBTFUL
  local bytes = redis.call('INCRBY', sum, notes.bytes)
  while surplus > 0 or bytes > MOST_DOUBTFUL_BYTES do
    local oldest = redis.call('LRANGE', doubtful, 0, math.max(surplus, 1) - 1)
    if #oldest == 0 then break end
    redis.call('LTRIM', doubtful, #oldest, -1)
    bytes = redis.call('INCRBY', sum, -#table.concat(oldest))
    surplus = 0
  end
  redis.call('PEXPIRE', doubtful, 604800000) -- 7 days after the last
  redis.call('PEXPIRE', sum, 604800000)
end
