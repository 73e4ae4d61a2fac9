"""Connects to Redis, one server, a cluster or what sentinels watch, and names the errors that mean "unavailable"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.exceptions import RedisClusterException, RedisError

from scorer.errors import SettingsError, UserError

#: Errors of redis-py; those of a cluster do not derive from RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException)
#: Errors that mean that Redis is unavailable, refuses a command, or has lost a part of its cluster.
AWAY = (*REDIS_ERRORS, OSError)
#: Options of every client.
_OPTIONS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "health_check_interval": 30}


class StoreAwayError(UserError):
    """Redis is unavailable."""


def connect(address: str) -> Any:
    """Create a client. address: as `ShadowSettings.redis` has it. Raises SettingsError for a malformed one."""
    try:
        return _client(address)
    except ValueError as error:
        raise SettingsError(f"setting redis: {error}; set SHADOW_REDIS") from None


def _client(address: str) -> Any:
    scheme, _, rest = address.partition("://")
    base, _, kind = scheme.replace("valkey", "redis").partition("+")
    if kind == "cluster":
        return RedisCluster.from_url(f"{base}://{rest}", **_OPTIONS)
    if kind == "sentinel":
        return _behind_sentinels(base, rest)
    return Redis.from_url(f"{base}://{rest}", **_OPTIONS)


def _behind_sentinels(base: str, rest: str) -> Any:
    """A client of the primary that sentinels name. rest: `user:password@host:port,host:port/service/db?options`; user
    and password are those of Redis, and the sentinels are asked without."""
    login, _, places = rest.rpartition("@")
    hosts, _, path = places.partition("/")
    path, _, query = path.partition("?")
    service, _, db = path.partition("/")
    if not service:
        raise ValueError(f"{places}: names no service; expected host:port,host:port/service/0")
    watchers = []
    for place in hosts.split(","):
        host, _, port = place.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{place!r}: is no sentinel; expected host:port")
        watchers.append((host, int(port)))
    options = dict(parse_url(f"{base}://{login}@{watchers[0][0]}/{db}?{query}"))
    del options["host"]
    if options.pop("connection_class", None) is not None:  # that of TLS; a pool of sentinels has its own
        options["ssl"] = True
    asked = {name: value for name, value in _OPTIONS.items() if name.startswith("socket_")}
    watch: Any = Sentinel  # which has no types
    return watch(watchers, sentinel_kwargs=asked, **_OPTIONS, **options).master_for(service)


async def memory(redis: Any) -> dict[str, tuple[int, int]]:
    """Bytes used and the limit (0: none) of every node that takes writes, by host:port."""
    if isinstance(redis, RedisCluster):
        found = await redis.info("memory", target_nodes=RedisCluster.PRIMARIES)
    else:
        told = await redis.info("memory")
        found = {await _place(redis.connection_pool): told}
    return {node: (int(told["used_memory"]), int(told.get("maxmemory", 0))) for node, told in found.items()}


async def _place(pool: Any) -> str:
    """host:port of the server that a pool connects to."""
    if isinstance(pool, SentinelConnectionPool):
        host, port = await pool.get_master_address()  # type: ignore[no-untyped-call]
        return f"{host}:{port}"
    options = pool.connection_kwargs
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


@contextmanager
def telling(address: str) -> Iterator[None]:
    """Raise a UserError for a command if Redis is unavailable."""
    try:
        yield
    except AWAY as error:
        raise StoreAwayError(f"redis {address.rpartition('@')[2]}: {error}; start it or set SHADOW_REDIS") from None
