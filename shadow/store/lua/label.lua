-- Merges the votes of one bucket and moves its fence; both or neither.
--
-- KEYS[1]   fence hash of the bucket   KEYS[2...]   hashes of votes, and of notes, one of each for each month
-- ARGV[1]   JSON object:
--   reached  {partition: next offset on `labels`}  the fence never moves backwards
--   seconds  for which a month is kept after its last change
--   votes    [[key position, subject, source, by, at in ms, verdict, rank of the verdict], ...]
--   notes    [[key position, subject, source, by, at in ms, text], ...]  a text of "" takes the note back
--   ranks    {verdict: rank}
-- Returns   how many votes changed anything. A vote replaces that of the same person if it is newer, or equally old and
--           of a higher rank. Notes likewise, the later in the alphabet of two equally old. So merging votes twice, or in another order, is harmless.
local p = cjson.decode(ARGV[1])
local changed = 0
for _, v in ipairs(p.votes) do
  local key, subject, source, by, at, verdict, rank = KEYS[v[1]], v[2], v[3], v[4], v[5], v[6], v[7]
  local body = redis.call('HGET', key, subject)
  local stands = body and cjson.decode(body) or {}
  local people = stands[source] or {}
  local old = people[by]
  if not old or at > old[1] or (at == old[1] and rank > p.ranks[old[2]]) then
    people[by] = {at, verdict}
    stands[source] = people
    redis.call('HSET', key, subject, cjson.encode(stands))
    changed = changed + 1
  end
end
for _, v in ipairs(p.notes) do
  local key, subject, source, by, at, text = KEYS[v[1]], v[2], v[3], v[4], v[5], v[6]
  local body = redis.call('HGET', key, subject)
  local stands = body and cjson.decode(body) or {}
  local people = stands[source] or {}
  local old = people[by]
  if not old or at > old[1] or (at == old[1] and text > old[2]) then
    people[by] = {at, text}
    stands[source] = people
    redis.call('HSET', key, subject, cjson.encode(stands))
  end
end
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], p.seconds) end
for partition, following in pairs(p.reached) do
  local before = tonumber(redis.call('HGET', KEYS[1], partition) or '0')
  if following > before then redis.call('HSET', KEYS[1], partition, string.format('%.0f', following)) end
end
return changed
