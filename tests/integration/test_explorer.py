"""The explorer on a real store: what it holds of samples is what is stored, whatever has happened in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.stores import RedisServer, valkey
from integration.test_samples import DAYS, PARTITIONS, bodies, offered, unindex, write
from integration.test_store import RUN, SEGMENTS
from shadow.comparison.query import Query
from shadow.comparison.sample import Contribution
from shadow.exploration.labelled import Labelled
from shadow.exploration.question import Question
from shadow.store import explorer as module
from shadow.store.connection import connect
from shadow.store.explorer import Explorer
from shadow.store.samples import SampleEraser, SampleReader
from shadow.store.tallies import TallyStore

pytestmark = pytest.mark.anyio
NOTHING = Labelled()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("store"), valkey()) as running:
        yield running


async def agrees(explorer: Explorer, client: Any) -> None:
    """Whether the table holds every sample that there is, with the probability that the reader of pages has, too."""
    table = await explorer.table(RUN, NOTHING)
    reader = SampleReader(client, "candidate")
    page, total = await reader.page(RUN, Query(agreements=True, limit=10_000), 100.0)
    want = {(one.partition, one.offset): one for one in page}
    rows = np.arange(len(table))
    found = [one async for one in explorer.rows_of(RUN, table, rows)]
    assert len(table) == total == len(found)
    assert [one.offset for one in found] == table.entries["offset"].tolist()
    for one, chance in zip(found, table.chances.tolist(), strict=True):
        assert chance == one.inclusion_probability
    by_hash = {(one.hash, one.partition): one.inclusion_probability for one in want.values()}
    assert {(one.hash, one.partition): one.inclusion_probability for one in found} == by_hash
    scores = {one.offset: one.candidate.score for one in found}
    assert dict(zip(table.entries["offset"].tolist(), table.columns.scores.tolist(), strict=True)) == scores


@given(
    steps=st.lists(
        st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(DAYS), st.integers(1, 300), st.integers(1, 2)),
        min_size=1,
        max_size=6,
    ),
    erased=st.sampled_from([None, "c0", "c1"]),
    is_indexed=st.booleans(),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_held_follows_what_is_stored(
    server: RedisServer, steps: Any, erased: str | None, is_indexed: bool
) -> None:
    """One explorer that has looked all along, over writes that evict, an erased card, and runs without an index."""

    async def story() -> None:
        client = connect(f"redis://{server.address}/0")
        await client.flushall()
        store, n, explorer = TallyStore(client, "candidate", SEGMENTS), 0, Explorer(client, "candidate")
        for partition, day, count, segment in steps:
            await write(store, partition, [offered(n + i, day=day, segment=segment) for i in range(count)])
            n += count
            await agrees(explorer, client)
        if erased is not None:
            await SampleEraser(client, "candidate").erase(erased)
            await agrees(explorer, client)
            table = await explorer.table(RUN, NOTHING)
            mine = np.flatnonzero(table.met(table.masks(Question(card=erased, agreements=True), 100.0)))
            assert not len(await explorer.of_card(RUN, table, mine, erased))
        if not is_indexed:
            await unindex(store)
            await agrees(Explorer(client, "candidate"), client)
        await client.aclose()

    asyncio.run(story())


async def test_only_new_bodies_are_read_again(client: Any) -> None:
    store, explorer = TallyStore(client, "candidate", SEGMENTS), Explorer(client, "candidate")
    await write(store, 0, [offered(n, why=()) for n in range(40)])
    await explorer.table(RUN, NOTHING)
    await client.config_resetstat()
    first = await explorer.table(RUN, NOTHING)
    assert "cmdstat_hmget" not in await client.info("commandstats") or await hmgets(client) <= len(DAYS)
    await write(store, 0, [offered(n, why=()) for n in range(40, 44)])
    second = await explorer.table(RUN, NOTHING)
    assert len(second) > len(first)
    assert await explorer.table(RUN, NOTHING, max_age=60) is second, "young enough"


async def hmgets(client: Any) -> int:
    return int((await client.info("commandstats")).get("cmdstat_hmget", {}).get("calls", 0))


async def test_an_explanation_that_comes_later_is_seen(client: Any) -> None:
    store, explorer = TallyStore(client, "candidate", SEGMENTS), Explorer(client, "candidate")
    await write(store, 0, [offered(2)])
    assert not (await explorer.table(RUN, NOTHING)).columns.is_explained.any()
    ((name, sample),) = await store.unexplained(0, 5)
    assert await store.explain(0, name, sample.explained((Contribution("amount", 1.0, 0.0, 0.5, 0.5),)))
    table = await explorer.table(RUN, NOTHING)
    assert table.columns.is_explained.all()
    assert np.flatnonzero(table.met(table.masks(Question(top_feature="amount"), 100.0))).tolist() == [0]


async def test_of_very_many_samples_those_with_the_smallest_hashes_are_held(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the estimates allow for it: on average they are what they were."""
    monkeypatch.setattr(module, "MOST", 60)
    store, explorer = TallyStore(client, "candidate", SEGMENTS), Explorer(client, "candidate")
    await write(store, 0, [offered(n) for n in range(120)])
    table = await explorer.table(RUN, NOTHING)
    everything = await bodies(store)
    assert (len(table), table.stored) == (60, len(everything))
    assert table.entries["hash"].max() < min(s.hash for s in sorted(everything, key=lambda s: s.hash)[60:])
    assert (table.chances <= sorted(s.hash for s in everything)[60]).all()


async def test_an_unknown_run_is_empty_and_samples_that_expire_are_left_out(client: Any) -> None:
    store, explorer = TallyStore(client, "candidate", SEGMENTS), Explorer(client, "candidate")
    assert len(await explorer.table(RUN, NOTHING)) == 0
    await write(store, 0, [offered(n) for n in range(20)])
    table = await explorer.table(RUN, NOTHING)
    gone = store._keys(0)
    await client.delete(gone.bodies(str(RUN), 4), gone.index(str(RUN), 4))
    assert [one async for one in explorer.rows_of(RUN, table, np.arange(len(table)))] == []
    assert len(await explorer.table(RUN, NOTHING)) == 0


async def test_no_command_keeps_redis_busy(client: Any) -> None:
    """What a shadow writes waits for no longer than it takes to send some bodies: the slow log stays empty."""
    store = TallyStore(client, "candidate", SEGMENTS)
    for day in DAYS:
        await write(store, 0, [offered(1000 * (day + 2) + n, day=day) for n in range(300)])
    await client.config_set("slowlog-log-slower-than", 10_000)
    await client.slowlog_reset()
    explorer = Explorer(client, "candidate")
    table = await explorer.table(RUN, NOTHING)
    assert len([one async for one in explorer.rows_of(RUN, table, np.arange(len(table)))]) == len(table)
    assert [entry["command"][:60] for entry in await client.slowlog_get()] == []


async def test_some_samples_are_there_before_all_and_give_way_to_all(client: Any) -> None:
    store, explorer = TallyStore(client, "candidate", SEGMENTS), Explorer(client, "candidate")
    await write(store, 0, [offered(n) for n in range(120)])
    some = await explorer.table(RUN, NOTHING, 60, most=30)
    assert (len(some), some.stored) == (30, len(await bodies(store)))
    assert some.entries["hash"].max() < some.chances.max() <= sorted(s.hash for s in await bodies(store))[30]
    every = await explorer.table(RUN, NOTHING, 60)
    assert len(every) == every.stored
    assert await explorer.table(RUN, NOTHING, 60, most=30) is every, "more than enough"
