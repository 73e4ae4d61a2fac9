-- Moves the fence of a partition past decisions that retention deleted before they were read.
--
-- KEYS[1]   fence hash   KEYS[2]   list of gaps
-- ARGV      nonce, from, to
-- Returns   {"applied"}, {"stale", next} or {"wiped"}; the last two changed nothing
local fence = redis.call('HMGET', KEYS[1], 'nonce', 'next')
if fence[1] ~= ARGV[1] then return {'wiped'} end
if tonumber(fence[2]) ~= tonumber(ARGV[2]) then return {'stale', fence[2]} end
redis.call('HSET', KEYS[1], 'next', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'gap', ARGV[3] - ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[2] .. '-' .. ARGV[3])
return {'applied'}
