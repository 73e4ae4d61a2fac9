"""Tallies behind sentinels: the client finds the primary, and the one that takes its place."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from harness.patience import PATIENCE_SECONDS
from harness.stores import RedisServer, debian_redis
from integration.test_store import RUN, SEGMENTS, an_increment
from shadow.local.process import die_with_parent, free_port
from shadow.store.connection import AWAY, connect, memory
from shadow.store.tallies import Applied, Fence, TallyStore

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis"), pytest.mark.variant]
SERVICE = "payments"


@dataclass
class Watched:
    """A primary, its replica, and the port of the sentinel that watches them."""

    primary: RedisServer
    replica: RedisServer
    sentinel: int

    @property
    def address(self) -> str:
        nobody = free_port()
        return f"redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{self.sentinel}/{SERVICE}/0"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as running:
        primary, replica = (
            running.enter_context(RedisServer(tmp_path / name, str(debian_redis()))) for name in ("one", "two")
        )
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
        port, config = free_port(), tmp_path / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 5000\n"
        )
        sentinel = subprocess.Popen(
            [str(debian_redis()), str(config), "--sentinel"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        running.callback(sentinel.wait)
        running.callback(sentinel.kill)
        found = Watched(primary, replica, port)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _replicas(port) != 1:
            assert time.monotonic() < deadline, "the sentinel does not see the replica"
            time.sleep(0.1)
        yield found


def _replicas(port: int) -> int:
    """How many replicas in step the sentinel knows."""
    try:
        with redis.Redis(port=port) as client:
            known: Any = client.sentinel_slaves(SERVICE)
            return sum(one["master-link-status"] == "ok" for one in known)
    except redis.RedisError:
        return 0


async def test_a_fail_over_is_followed_and_nothing_counted_twice(watched: Watched) -> None:
    client = connect(watched.address)
    assert list(await memory(client)) == [watched.primary.address]
    store = TallyStore(client, "candidate", SEGMENTS)
    fence = await store.open_partition(0, 0)
    assert isinstance(await store.apply(0, fence, 8, an_increment(3)), Applied)
    with watched.primary.client() as primary:
        assert primary.wait(1, 5000) == 1
    watched.primary.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            again = await store.open_partition(0, 0)
            break
        except AWAY:
            assert time.monotonic() < deadline, "the replica does not take over"
            await asyncio.sleep(0.2)
    assert (again.next, again.source) == (8, 10)
    assert list(await memory(client)) == [watched.replica.address]
    assert isinstance(await store.apply(0, Fence(again.nonce, 8, 10, False), 11, an_increment(4, source=13)), Applied)
    assert (await store.totals(RUN)).compared == 7
    await client.aclose()
