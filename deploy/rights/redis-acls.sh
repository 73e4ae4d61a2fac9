#!/bin/sh
# Lets each user of Redis or Valkey do what its process needs, and nothing else. Rendered: change
# deploy/rights/users.py, then run `make deploy-render`. A user keeps its passwords and loses its other rights.
#
#   REDIS=redis://host:port deploy/rights/redis-acls.sh
#
# REDIS: a server, with a user that may change access lists; run it for each node of a cluster. REDIS_CLI: path of
# redis-cli or valkey-cli.
set -eu
allow() {
    user=$1; shift
    cli=${REDIS_CLI:-redis-cli}
    "$cli" -e -u "$REDIS" ACL SETUSER "$user" on resetkeys resetchannels clearselectors -@all "$@"
    # Clients say what they are. Older servers do not know that command; newer ones would log each refusal.
    "$cli" -e -u "$REDIS" ACL SETUSER "$user" '+client|setinfo' > /dev/null 2>&1 || true
}

# shadow run --slot candidate
allow shadow-candidate +ping '+cluster|slots' +command '+script|load' +multi +exec \
    '(~shadow:{candidate:* ~shadow:candidate:partitions +append +bitfield +evalsha +expire +get +hdel +hexists +hget +hgetall +hincrby +hlen +hmget +hset +hsetnx +rpush +sadd +set +smembers +srandmember +srem +unlink +zadd +zcard +zpopmax)' \
    '(~shadow:slots +sadd)' \
    '(~shadow:salt +set)'

# shadow run --slot control
allow shadow-control +ping '+cluster|slots' +command '+script|load' +multi +exec \
    '(~shadow:{control:* ~shadow:control:partitions +append +bitfield +evalsha +expire +get +hdel +hexists +hget +hgetall +hincrby +hlen +hmget +hset +hsetnx +rpush +sadd +set +smembers +srandmember +srem +unlink +zadd +zcard +zpopmax)' \
    '(~shadow:slots +sadd)' \
    '(~shadow:salt +set)'

# shadow run --slot previous
allow shadow-previous +ping '+cluster|slots' +command '+script|load' +multi +exec \
    '(~shadow:{previous:* ~shadow:previous:partitions +append +bitfield +evalsha +expire +get +hdel +hexists +hget +hgetall +hincrby +hlen +hmget +hset +hsetnx +rpush +sadd +set +smembers +srandmember +srem +unlink +zadd +zcard +zpopmax)' \
    '(~shadow:slots +sadd)' \
    '(~shadow:salt +set)'

# shadow serve
allow serve +ping '+cluster|slots' +command '+script|load' +info \
    '(%R~shadow:* +get +hget +hgetall +hmget +hscan +hvals +lrange +mget +smembers)' \
    '(~shadow:labels ~shadow:{labels:* +evalsha +expire +hset +sadd)' \
    '(~shadow:lease:* +del +set)' \
    '(~shadow:assigned:* +expire +hdel +hset)' \
    '(~shadow:salt +set)' \
    '(~shadow:told:* +hset)' \
    '(~shadow:complaints:* +expire +hlen +hset +hsetnx)'

# scorer rotate
allow rotate +ping '+cluster|slots' +command \
    '(%R~shadow:*:partitions %R~shadow:{*}:2:* +get +hget +hgetall +smembers)'

# scorer deploy, scorer decisions, shadow approve, shadow reject, shadow rollback, shadow comment, shadow verify, shadow erase, and all of the reviewer's
allow operator +ping '+cluster|slots' +command '+script|load' +multi +exec \
    '(%R~shadow:* +get +hget +hgetall +hmget +hscan +hvals +lrange +mget +smembers)' \
    '(~shadow:labels ~shadow:{labels:* +evalsha +expire +hset +sadd)' \
    '(~shadow:lease:* +del +set)' \
    '(~shadow:assigned:* +expire +hdel +hset)' \
    '(~shadow:salt +set)' \
    '(~shadow:{labels:* +hdel)' \
    '(~shadow:{*}:2:s:* ~shadow:{*}:2:x:* +evalsha +hdel +hexists +set)'

# shadow gate, shadow evidence, shadow status, shadow history, shadow disagreements, shadow report, shadow plan, shadow labels load, shadow labels show, shadow review next, shadow review mark
allow reviewer +ping '+cluster|slots' +command '+script|load' \
    '(%R~shadow:* +get +hget +hgetall +hmget +hscan +hvals +lrange +mget +smembers)' \
    '(~shadow:labels ~shadow:{labels:* +evalsha +expire +hset +sadd)' \
    '(~shadow:lease:* +del +set)' \
    '(~shadow:assigned:* +expire +hdel +hset)' \
    '(~shadow:salt +set)'
