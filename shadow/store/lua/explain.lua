-- Stores a sample with its explanation, if the sample is still kept.
--
-- KEYS[1]   bodies hash   KEYS[2]   set of samples not explained yet
-- ARGV      member of the hash, member of the set, body
-- Returns   1 if the sample was kept, else 0; in both cases it no longer waits for an explanation
redis.call('SREM', KEYS[2], ARGV[2])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
