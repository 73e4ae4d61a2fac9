"""Tallies and labels on a Redis Cluster of three masters, and on a replica that takes over without the last writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from harness.kept import samples_of
from harness.patience import PATIENCE_SECONDS
from harness.stores import RedisServer, cluster, debian_redis
from integration.test_store import RUN, SEGMENTS, a_block, an_increment, an_offer
from shadow.comparison.case import Case, by_card, by_transaction, card_hash
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.labels.label import State, Vote
from shadow.store.connection import connect, memory
from shadow.store.labels import LabelStore
from shadow.store.pseudonyms import pseudonyms
from shadow.store.tallies import Applied, Fence, Stale, TallyStore

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis"), pytest.mark.variant]
SLOTS = 16_384


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster"), str(debian_redis()), 3) as found:
        yield found


@pytest.fixture
async def store(masters: list[RedisServer], anyio_backend: str) -> AsyncIterator[TallyStore]:
    client = connect(f"redis+cluster://{masters[0].address}/0")
    await client.initialize()
    yield TallyStore(client, "candidate", SEGMENTS)
    await client.aclose()


async def test_memory_of_every_master_is_told(store: TallyStore, masters: list[RedisServer]) -> None:
    with masters[1].client() as client:
        client.config_set("maxmemory", 200_000_000)
    found = await memory(store.redis)
    assert set(found) == {master.address for master in masters}
    assert all(used > 100_000 for used, _ in found.values())
    assert sorted(limit for _, limit in found.values()) == [0, 0, 200_000_000]


async def test_partitions_are_spread_over_the_masters_and_add_up(store: TallyStore, masters: list[RedisServer]) -> None:
    for partition in range(12):
        fence = await store.open_partition(partition, 0)
        what = an_increment(2)
        what.blocked, what.samples = [a_block("x")], [an_offer(1, 2)]
        assert isinstance(await store.apply(partition, fence, 8, what), Applied)
        assert await store.apply(partition, fence, 8, what) == Stale(8)
        assert await store.stands(partition, Fence(fence.nonce, 8, 10, False))
        assert len(await store.unexplained(partition, 10)) == 1
        assert list(await store.taus(partition)) == []
    totals = await store.totals(RUN)
    assert totals.compared == 24
    assert totals.segments["all"].pairs.tolist() == [12, 0]
    assert len(await samples_of(store, RUN)) == 12
    assert (await store.hourly(RUN, "all"))[100].compared == 24
    assert [progress.next for progress in await store.progress()] == [8] * 12
    assert [(await store.books(partition)).runs[0][1].compared for partition in range(12)] == [2] * 12
    assert len(await store.runs()) == 1
    fences = []
    for server in masters:
        with server.client() as client:
            fences.append(len(client.keys("*:fence")))
    assert sum(fences) == 12
    assert min(fences) > 0, f"fences by master: {fences}"


async def test_labels_are_spread_over_the_masters_and_join_their_cases(
    store: TallyStore, masters: list[RedisServer]
) -> None:
    labels = LabelStore(store.redis, label_days=30)
    day, n = 86_400_000, 300
    name = (await pseudonyms(store.redis, "shadow")).card
    cases = [
        Case(f"t{at}", DISAGREEMENTS[at % 2], 100, at * day, name(card_hash(f"c{at}")), ("all",), at / n, at, at)
        for at in range(n)
    ]
    votes = [Vote(by_transaction(f"t{at}"), "review", "ann", at * day + 1, "fraud") for at in range(0, n, 3)]
    votes += [Vote(by_card(card_hash(f"c{at}"), at * day), "chargeback", "bank", at * day, "fraud") for at in (1, 7)]
    assert await labels.merge(votes, {0: 500, 1: 7}) == len(votes)
    assert await labels.merge(votes, {0: 400}) == 0, "taken in twice"
    assert await labels.reached([0, 1, 2]) == {0: 500, 1: 7, 2: 0}
    known = await labels.known(cases)
    assert [at for at, one in enumerate(known) if one.review is State.FRAUD] == list(range(0, n, 3))
    assert [at for at, one in enumerate(known) if one.chargeback is State.FRAUD] == [1, 7]
    held = []
    for server in masters:
        with server.client() as client:
            held.append(len(client.keys("*:{labels:*}:*")))
    assert min(held) > 0, f"keys of labels by master: {held}"
    assert await labels.erase("c7", [by_transaction("t6")]) == 2
    after = await labels.known(cases)
    assert (after[6].review, after[7].chargeback) == (State.PENDING, State.PENDING)
    assert await labels.lease("candidate", "t1", "ann", 5)
    assert not await labels.lease("candidate", "t1", "bob", 5)
    await labels.release("candidate", "t1")
    assert await labels.lease("candidate", "t1", "bob", 5)


async def test_a_replica_that_lacks_the_last_writes_is_recounted_from_its_own_fence(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "primary", str(debian_redis())) as primary:
        replica = RedisServer(tmp_path / "replica", str(debian_redis()))
        with replica, replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            store = TallyStore(connect(f"redis://{primary.address}/0"), "candidate", SEGMENTS)
            fence = await store.open_partition(0, 0)
            assert isinstance(await store.apply(0, fence, 8, an_increment(3)), Applied)
            await asyncio.wait_for(_in_step(primary, client), PATIENCE_SECONDS)
            client.replicaof("NO", "ONE")
            lost = Fence(fence.nonce, 8, 10, False)
            assert isinstance(await store.apply(0, lost, 11, an_increment(3, source=13)), Applied)
            primary.kill()
            client.config_set("port", primary.port)
            await store.redis.connection_pool.disconnect()  # a worker's failed call does the same, and is repeated
            after = Fence(fence.nonce, 11, 13, False)
            assert not await store.stands(0, after)
            assert await store.apply(0, after, 12, an_increment()) == Stale(8)
            again = await store.open_partition(0, 0)
            assert (again.next, again.source) == (8, 10)
            assert isinstance(await store.apply(0, again, 12, an_increment(4, source=14)), Applied)
            assert (await store.totals(RUN)).compared == 7
            await store.redis.aclose()


async def _in_step(primary: RedisServer, replica: redis.Redis) -> None:
    while True:
        with primary.client() as client:
            wants = client.info("replication")["master_repl_offset"]
        has = replica.info("replication")
        if has.get("master_link_status") == "up" and has["slave_repl_offset"] >= wants > 0:
            return
        await asyncio.sleep(0.05)
