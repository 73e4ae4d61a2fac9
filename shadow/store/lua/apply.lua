-- Applies the sums of one partition's decisions [from, to), exactly once.
--
-- KEYS      every key that is read or written; the payload refers to them by position. KEYS[1] is the fence hash.
-- ARGV[1]   JSON object:
--   nonce, from, to, source, decided  the fence that is expected, its next position, the highest source offset of the
--            range, and which source offsets are decided after it, as text
--   fence    {field: increment}  counters of the partition
--   runs     [[set, run, run hash]]  runs to add; one that is new gets the field `indexed`
--   meta     [[run hash, {field: text, set once}, {field: increment}, {field: text, overwritten}]]
--   hours    [[set, hour, ...]]
--   resets   [[set, hour, cause, ...]]  each added as `hour:cause`
--   marks    [[run hash, resets set, hour, {cause: text}]]  the text is stored; if it replaces another one, or is
--            the first conflict, a reset is added. For `coverage gap` and `decision conflict` the text is the count in
--            this script's own keys
--   tallies  [[hash, seconds to live or 0, field, increment, field, increment, ...]]
--   histograms  [[string, seconds to live or 0, cell, increment, cell, increment, ...]]  cells are int64
--   tops     [[hash, 0, field, number, field, number, ...]]  the largest number stays
--   cards    seconds to live of the hashes of ARGV[3] and on
--   forgotten [hash, ...]  hashes of cards that are deleted
--   samples  [[member, hash value, bodies, references, seconds, why set, why member, body, [[zset, taus, field, k], ...],
--            index or 0, number of the entry]]
--            the why member ends with the member; it is empty if the sample needs no explanation
--   indexes  [[string, bodies, run hash, set of days, day, seconds]]  written only for runs with the field `indexed`: so
--            a run that was begun without an index never has a part of one
--   names    [hash, digest, JSON]  the segments that the entries refer to; empty without entries
-- ARGV[2]   entries of the index, 64 bytes each; the offset is in the first 8, the kind is the last byte
--
-- ARGV[3...] hash of cards, field, value, again and again: binary texts, which JSON could not hold
--
-- Returns   {"applied", key position, field, tau, ...}  new thresholds of the strata that refused a sample
--           {"stale", next}    the fence is at another position; nothing was changed
--           {"wiped"}          the fence is missing or has another nonce; nothing was changed
local p = cjson.decode(ARGV[1])
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'next')
if fence[1] ~= p.nonce then return {'wiped'} end
if tonumber(fence[2]) ~= p.from then return {'stale', fence[2]} end

local CELLS = 1000 -- numbers of a histogram in one command; Lua unpacks no more than about 8,000 arguments
local function whole(n) return string.format('%.0f', n) end
local function exact(x) return string.format('%.17g', x) end

redis.call('HSET', KEYS[1], 'next', whole(p.to))
local source = tonumber(redis.call('HGET', KEYS[1], 'source') or '-1')
if p.source > source then redis.call('HSET', KEYS[1], 'source', whole(p.source)) end
if p.decided and p.decided ~= '' then redis.call('HSET', KEYS[1], 'decided', p.decided) end
for field, more in pairs(p.fence) do redis.call('HINCRBY', KEYS[1], field, whole(more)) end
for _, r in ipairs(p.runs) do
  if redis.call('SADD', KEYS[r[1]], r[2]) == 1 then redis.call('HSET', KEYS[r[3]], 'indexed', '1') end
end
for _, m in ipairs(p.meta) do
  for field, text in pairs(m[2]) do redis.call('HSETNX', KEYS[m[1]], field, text) end
  for field, more in pairs(m[3]) do redis.call('HINCRBY', KEYS[m[1]], field, whole(more)) end
  for field, text in pairs(m[4]) do redis.call('HSET', KEYS[m[1]], field, text) end
end
for _, h in ipairs(p.hours) do
  for i = 2, #h do redis.call('SADD', KEYS[h[1]], whole(h[i])) end
end
for _, r in ipairs(p.resets) do
  for i = 3, #r do redis.call('SADD', KEYS[r[1]], whole(r[2]) .. ':' .. r[i]) end
end
for _, m in ipairs(p.marks) do
  m[4]['coverage gap'] = redis.call('HGET', KEYS[1], 'gap') or '0'
  m[4]['decision conflict'] = redis.call('HGET', KEYS[m[1]], 'conflicts') or '0'
  for cause, text in pairs(m[4]) do
    local before = redis.call('HGET', KEYS[m[1]], 'mark:' .. cause)
    local is_first_conflict = not before and cause == 'decision conflict' and text ~= '0'
    if (before and before ~= text) or is_first_conflict then
      redis.call('SADD', KEYS[m[2]], whole(m[3]) .. ':' .. cause)
    end
    if before ~= text then redis.call('HSET', KEYS[m[1]], 'mark:' .. cause, text) end
  end
end
for _, t in ipairs(p.tallies) do
  local key = KEYS[t[1]]
  for i = 3, #t, 2 do redis.call('HINCRBY', key, t[i], whole(t[i + 1])) end
  if t[2] > 0 then redis.call('EXPIRE', key, whole(t[2])) end
end
for _, h in ipairs(p.histograms) do
  local key = KEYS[h[1]]
  for first = 3, #h, CELLS do
    local add = {}
    for i = first, math.min(first + CELLS, #h + 1) - 1, 2 do
      local n = #add
      add[n + 1], add[n + 2], add[n + 3], add[n + 4] = 'INCRBY', 'i64', '#' .. whole(h[i]), whole(h[i + 1])
    end
    redis.call('BITFIELD', key, unpack(add))
  end
  if h[2] > 0 then redis.call('EXPIRE', key, whole(h[2])) end
end
for _, t in ipairs(p.tops) do
  local key = KEYS[t[1]]
  for i = 3, #t, 2 do
    if t[i + 1] > tonumber(redis.call('HGET', key, t[i]) or '0') then redis.call('HSET', key, t[i], whole(t[i + 1])) end
  end
end
local lasting = {}
for i = 3, #ARGV, 3 do
  local key = KEYS[tonumber(ARGV[i])]
  redis.call('HSET', key, ARGV[i + 1], ARGV[i + 2])
  lasting[key] = true
end
for key in pairs(lasting) do redis.call('EXPIRE', key, whole(p.cards)) end
for _, at in ipairs(p.forgotten) do redis.call('UNLINK', KEYS[at]) end

local ENTRY, GONE = 64, 254
local SLACK = 256 -- entries; an index that has more than this beside twice what is kept is written anew
local appended = {}
for _, x in ipairs(p.indexes) do
  if redis.call('HGET', KEYS[x[3]], 'indexed') then appended[x[1]] = {} end
end
local function mark(index, member)
  if appended[index] then
    local entries = appended[index]
    entries[#entries + 1] = struct.pack('<i8', tonumber(member)) .. string.rep('\0', 54) .. '\1' .. string.char(GONE)
  end
end

local reply = {'applied'}
for _, s in ipairs(p.samples) do
  local member, value, bodies, references = s[1], s[2], KEYS[s[3]], KEYS[s[4]]
  for _, z in ipairs(s[9]) do
    local zset, taus, field = KEYS[z[1]], KEYS[z[2]], z[3]
    local tau = tonumber(redis.call('HGET', taus, field) or '1')
    if value < tau then
      redis.call('ZADD', zset, exact(value), member)
      redis.call('HINCRBY', references, member, 1)
      if redis.call('ZCARD', zset) > z[4] then
        local out = redis.call('ZPOPMAX', zset)
        redis.call('HSET', taus, field, out[2])
        reply[#reply + 1] = z[2]
        reply[#reply + 1] = field
        reply[#reply + 1] = out[2]
        if redis.call('HINCRBY', references, out[1], -1) == 0 then
          redis.call('HDEL', references, out[1])
          if redis.call('HDEL', bodies, out[1]) == 1 then mark(s[10], out[1]) end
          if s[7] ~= '' then redis.call('SREM', KEYS[s[6]], string.sub(s[7], 1, -1 - #member) .. out[1]) end
        end
      end
      redis.call('EXPIRE', zset, whole(s[5]))
      redis.call('EXPIRE', taus, whole(s[5]))
    end
  end
  if redis.call('HEXISTS', references, member) == 1 then
    if redis.call('HSET', bodies, member, s[8]) == 1 and appended[s[10]] then
      local entries = appended[s[10]]
      entries[#entries + 1] = string.sub(ARGV[2], ENTRY * (s[11] - 1) + 1, ENTRY * s[11])
    end
    if s[7] ~= '' then redis.call('SADD', KEYS[s[6]], s[7]) end
    redis.call('EXPIRE', bodies, whole(s[5]))
    redis.call('EXPIRE', references, whole(s[5]))
  end
end
if #p.names > 0 then redis.call('HSETNX', KEYS[p.names[1]], p.names[2], p.names[3]) end
for _, x in ipairs(p.indexes) do
  local entries, index, bodies = appended[x[1]], KEYS[x[1]], KEYS[x[2]]
  if entries and #entries > 0 then
    local size = redis.call('APPEND', index, table.concat(entries))
    if size > ENTRY * (SLACK + 2 * redis.call('HLEN', bodies)) then
      local all, live = redis.call('GET', index), {}
      for first = 1, #all, ENTRY do
        local member = whole(struct.unpack('<i8', all, first))
        if string.byte(all, first + ENTRY - 1) < GONE and redis.call('HEXISTS', bodies, member) == 1 then
          live[#live + 1] = string.sub(all, first, first + ENTRY - 1)
        end
      end
      redis.call('SET', index, table.concat(live))
    end
    redis.call('SADD', KEYS[x[4]], x[5])
    redis.call('EXPIRE', index, whole(x[6]))
    redis.call('EXPIRE', KEYS[x[4]], whole(x[6]))
  end
end
return reply
