-- Compares candidates for the idempotency key with the enforced one, for deliveries that have been answered. What is
-- remembered for it is in two hashes in turn: a new one is begun when one is full or half a day old.
--
-- A lost reply is not asked for again: these are statistics, and a batch would count twice.
--
-- KEYS: shadow
-- ARGV[1]: the enforced sources and the candidates, as text: with others everything begins anew
-- ARGV[2]: 1 or 0 for each candidate: whether it is a key by content
-- ARGV[3]: msgpack list of deliveries, each {delivery id, digest, {key of each candidate, or ''}}
-- ARGV[4]: deliveries that were not looked at, because there were too many
-- ARGV[5]: entries of one hash at most
-- Returns a flat list of findings that are to be shown as an example: place of the delivery, candidate, kind, number of
-- the example, and the delivery that it is compared with.

local shadow, of, by_content = KEYS[1], ARGV[1], cmsgpack.unpack(ARGV[2])
local deliveries, skipped, most = cmsgpack.unpack(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local HALF_A_DAY, EXAMPLES = 43200000, 5
local now = now_ms()

local was, number, born, held = unpack(redis.call('HMGET', shadow, 'of', 'number', 'born', 'entries'))
number, born, held = tonumber(number) or 0, tonumber(born) or now, tonumber(held) or 0
if was ~= of then
  redis.call('DEL', shadow, shadow .. ':' .. number, shadow .. ':' .. number - 1)
  redis.call('HSET', shadow, 'of', of, 'since', now)
  number, born, held = number + 1, now, 0
elseif held >= most or now - born > HALF_A_DAY then
  redis.call('DEL', shadow .. ':' .. number - 1)
  number, born, held = number + 1, now, 0
end
local here, before = shadow .. ':' .. number, shadow .. ':' .. number - 1

local function remembered(field) return redis.call('HGET', here, field) or redis.call('HGET', before, field) end

local function remember(field, value)
  redis.call('HSET', here, field, value)
  held = held + 1
end

local counted, findings = {}, {}
local function count(name) counted[name] = (counted[name] or 0) + 1 end

local function found(place, candidate, kind, other)
  local name = candidate .. ' ' .. kind
  count(name)
  local shown = tonumber(redis.call('HGET', shadow, name) or 0) + counted[name]
  if shown <= EXAMPLES then
    for _, part in ipairs({place, candidate, kind, shown, other}) do findings[#findings + 1] = part end
  end
end

for place, delivery in ipairs(deliveries) do
  local id, digest, keys = unpack(delivery)
  local old = remembered('e' .. id) -- digest and keys of the first with this enforced key
  count('seen')
  if old then count('repeated') else remember('e' .. id, cmsgpack.pack({digest, keys})) end
  local first = old and cmsgpack.unpack(old)
  for candidate, key in ipairs(keys) do
    if key == '' then
      count(candidate .. ' missing')
    else
      local field = candidate .. ':' .. key
      local owner = remembered(field)
      if not owner then
        remember(field, id .. ' ' .. digest)
        if first then found(place, candidate, first[1] == digest and 'twice' or 'told apart', id) end
      elseif not first then
        local other, others = string.match(owner, '^(%S+) (%S+)$')
        local same = others == digest or by_content[candidate] == 1
        found(place, candidate, same and 'dropped' or 'held', other)
      end
    end
  end
end

if skipped > 0 then redis.call('HINCRBY', shadow, 'skipped', skipped) end
for name, by in pairs(counted) do redis.call('HINCRBY', shadow, name, by) end
redis.call('HSET', shadow, 'number', number, 'born', born, 'entries', held)
redis.call('PEXPIRE', shadow, 60 * HALF_A_DAY)
redis.call('PEXPIRE', here, 2 * HALF_A_DAY)
return findings
