-- Applies what one partition's decisions [from, to) add up to, once.
--
-- KEYS      every key that is read or written; the payload names them by their position. KEYS[1] is the fence hash.
-- ARGV[1]   JSON object:
--   nonce, from, to, source      of the fence; source is the highest source offset in the range
--   fence    {field: increment}  counters of the partition
--   runs     [[set, run]]        runs to note
--   meta     [[hash, {field: text} set once, {field: increment}, {field: text}]]
--   hours    [[set, hour, ...]]
--   resets   [[set, hour, cause, ...]]  each noted as `hour:cause`
--   marks    [[run hash, resets set, hour, {cause: text}]]  noted if the text is another than the hash has; then kept.
--            The causes `coverage gap` and `decision conflict` are compared by the counts of this script's own keys
--   tallies  [[hash, seconds to live or 0, field, increment, field, increment, ...]]
--   histograms  [[string, seconds to live or 0, cell, increment, cell, increment, ...]]  cells are int64
--   pairs    [[set, seconds, member, field, hash, hash, ...]]  field counts up in each hash if member is new in set
--   samples  [[member, hash value, bodies, references, seconds, why set, why member, body, [[zset, taus, field, k], ...]]]
--            a why member ends with the member; an empty one: nobody explains it
--
-- Returns   {"applied", key position, field, tau, ...}  thresholds of the strata that refused a sample
--           {"stale", next}    the fence stands elsewhere; nothing was changed
--           {"wiped"}          the fence is gone or another one; nothing was changed
local p = cjson.decode(ARGV[1])
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'next')
if fence[1] ~= p.nonce then return {'wiped'} end
if tonumber(fence[2]) ~= p.from then return {'stale', fence[2]} end

local CELLS = 1000 -- numbers of a histogram in one command: Lua passes on no more than some 8,000 arguments
local function whole(n) return string.format('%.0f', n) end
local function exact(x) return string.format('%.17g', x) end

redis.call('HSET', KEYS[1], 'next', whole(p.to))
local source = tonumber(redis.call('HGET', KEYS[1], 'source') or '-1')
if p.source > source then redis.call('HSET', KEYS[1], 'source', whole(p.source)) end
for field, more in pairs(p.fence) do redis.call('HINCRBY', KEYS[1], field, whole(more)) end
for _, r in ipairs(p.runs) do redis.call('SADD', KEYS[r[1]], r[2]) end
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
for _, d in ipairs(p.pairs) do
  if redis.call('SADD', KEYS[d[1]], d[3]) == 1 then
    redis.call('EXPIRE', KEYS[d[1]], whole(d[2]))
    for i = 5, #d do redis.call('HINCRBY', KEYS[d[i]], d[4], 1) end
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
          redis.call('HDEL', bodies, out[1])
          if s[7] ~= '' then redis.call('SREM', KEYS[s[6]], string.sub(s[7], 1, -1 - #member) .. out[1]) end
        end
      end
      redis.call('EXPIRE', zset, whole(s[5]))
      redis.call('EXPIRE', taus, whole(s[5]))
    end
  end
  if redis.call('HEXISTS', references, member) == 1 then
    redis.call('HSET', bodies, member, s[8])
    if s[7] ~= '' then redis.call('SADD', KEYS[s[6]], s[7]) end
    redis.call('EXPIRE', bodies, whole(s[5]))
    redis.call('EXPIRE', references, whole(s[5]))
  end
end
return reply
