-- Erases samples of one event day, and writes the index of that day anew without whatever is no longer kept.
--
-- KEYS[1]   bodies hash   KEYS[2]   index string
-- ARGV      members of the hash
-- Returns   how many bodies were erased. Places in the strata remain, so further sampling stays the same.
local ENTRY, GONE = 64, 254 -- as in apply.lua
local erased = 0
for _, member in ipairs(ARGV) do erased = erased + redis.call('HDEL', KEYS[1], member) end
local all, live = redis.call('GET', KEYS[2]) or '', {}
for first = 1, #all, ENTRY do
  local member = string.format('%.0f', struct.unpack('<i8', all, first))
  if string.byte(all, first + ENTRY - 1) < GONE and redis.call('HEXISTS', KEYS[1], member) == 1 then
    live[#live + 1] = string.sub(all, first, first + ENTRY - 1)
  end
end
if #all > 0 then redis.call('SET', KEYS[2], table.concat(live), 'KEEPTTL') end
return erased
