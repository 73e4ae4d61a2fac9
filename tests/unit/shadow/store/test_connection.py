"""Addresses of Redis: what each makes, and what is refused."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from scorer.errors import SettingsError
from scorer.settings import load
from shadow.settings import ShadowSettings
from shadow.store.connection import connect


@pytest.mark.parametrize(
    ("address", "tls"),
    [("redis://u:p%40ss@h:7/3", False), ("valkey://u:p%40ss@h:7/3", False), ("valkeys://u:p%40ss@h:7/3", True)],
)
def test_an_address_of_one_server(address: str, tls: bool) -> None:
    client = connect(address)
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("h", 7, 3)
    assert (options["username"], options["password"]) == ("u", "p@ss")
    assert (client.connection_pool.connection_class is SSLConnection) is tls


@pytest.mark.parametrize("address", ["redis+cluster://h:7", "valkey+cluster://h:7", "rediss+cluster://h:7"])
def test_an_address_of_a_cluster(address: str) -> None:
    assert isinstance(connect(address), RedisCluster)


@pytest.mark.parametrize("scheme", ["redis+sentinel", "valkey+sentinel", "rediss+sentinel"])
def test_an_address_of_sentinels(scheme: str) -> None:
    pool = connect(f"{scheme}://u:p%40ss@one:26379,two:26380/payments/2").connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "payments"
    watchers = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in watchers] == [("one", 26379), ("two", 26380)]
    assert watchers[0]["password"] is None, "sentinels are asked without"
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("u", "p@ss", 2)
    assert options["socket_timeout"] == 5.0
    assert (pool.connection_class is SentinelManagedSSLConnection) is (scheme[5] == "s")


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("h:26379", "names no service"),
        ("h/payments", "is no sentinel"),
        (":1/payments", "is no"),
        ("h:26379/payments/0?socket_timeout=soon", "socket_timeout"),
    ],
)
def test_sentinels_that_cannot_be_asked_are_refused(rest: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"{told}.*; set SHADOW_REDIS"):
        connect(f"redis+sentinel://{rest}")


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "http://h:1", "redis+other://h:1", "redis://", "", "s3cret@h:1"])
def test_what_is_no_address_is_refused_in_one_line_without_a_password(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(ShadowSettings, redis=address)
    line = str(refused.value)
    assert "expected one such as redis://127.0.0.1:6379/0; set SHADOW_REDIS" in line
    assert "s3cret" not in line
    assert "\n" not in line
