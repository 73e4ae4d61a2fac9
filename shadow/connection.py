"""Redis as all of the shadow uses it: one server or a cluster, and what it means that it is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from scorer.errors import UserError

#: What a Redis that is away, refuses, or has lost a part of its cluster raises.
AWAY = (RedisError, RedisClusterException, OSError)
#: Addresses of a Redis Cluster begin with this; any of its nodes will do.
CLUSTER = "redis+cluster://"


def connect(address: str) -> Any:
    """A client; raises ValueError for an address that is none."""
    options: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "health_check_interval": 30}
    if address.startswith(CLUSTER):
        return RedisCluster.from_url(address.replace(CLUSTER, "redis://", 1), **options)
    return Redis.from_url(address, **options)


async def memory(redis: Any) -> dict[str, tuple[int, int]]:
    """Bytes used and the limit (0 is none) of every node that takes writes, by host and port."""
    if isinstance(redis, RedisCluster):
        found = await redis.info("memory", target_nodes=RedisCluster.PRIMARIES)
    else:
        options = redis.connection_pool.connection_kwargs
        found = {f"{options.get('host', 'localhost')}:{options.get('port', 6379)}": await redis.info("memory")}
    return {node: (int(told["used_memory"]), int(told.get("maxmemory", 0))) for node, told in found.items()}


@contextmanager
def telling(address: str) -> Iterator[None]:
    """Turns a Redis that is away into a UserError, for commands."""
    try:
        yield
    except AWAY as error:
        raise UserError(f"redis {address.rpartition('@')[2]}: {error}; start it or set SHADOW_REDIS") from None
