"""The index of stored samples on a real store: a page by it is the page by the bodies, whatever has happened before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.kept import samples_of
from harness.samples import a_sample
from harness.stores import RedisServer, debian_redis, valkey
from integration.test_store import RUN, SEGMENTS, an_increment
from shadow.comparison.increment import Offered
from shadow.comparison.index import GONE, entry_of, names_digest, unpacked
from shadow.comparison.outcome import Outcome
from shadow.comparison.query import Query, matches
from shadow.comparison.sample import Sample
from shadow.comparison.sampling import KEEP_DISAGREEMENTS, sample_hashes
from shadow.comparison.totals import COLUMNS, Run
from shadow.store.connection import connect
from shadow.store.samples import CHUNK, SampleEraser, SampleReader
from shadow.store.tallies import Applied, Fence, TallyStore

pytestmark = pytest.mark.anyio
PARTITIONS, DAYS = 3, (4, 5, -1)


@pytest.fixture(scope="module", params=["valkey", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = valkey() if request.param == "valkey" else str(debian_redis())
    with RedisServer(tmp_path_factory.mktemp("store"), binary) as running:
        yield running


def offered(n: int, names: tuple[str, ...] = SEGMENTS, day: int = 4, segment: int = 1, **changes: Any) -> Offered:
    """The n-th sample of a partition, in all traffic and one segment more."""
    given: dict[str, Any] = {"outcome": Outcome(n % 4), "hash": float(sample_hashes([f"t{n}"])[0])}
    sample = a_sample(n, **given | {"segments": (names[0], names[segment])} | changes)
    strata = [(sample.run, day, int(sample.outcome), at) for at in (0, segment)]
    return Offered(n, sample.hash, sample.encode(), strata, entry_of(sample, (0, segment), names_digest(names)))


async def write(store: TallyStore, partition: int, samples: list[Offered], run: Run = RUN) -> None:
    fence = await store.open_partition(partition, 0)
    what = an_increment(source=fence.next + 1, run=run)
    what.tallies = {(run, hour): np.zeros((len(store._segments), COLUMNS), dtype=np.int64) for hour in (100, 124, -1)}
    what.samples = samples
    assert isinstance(await store.apply(partition, fence, fence.next + 1, what), Applied)


async def bodies(store: TallyStore, run: Run = RUN) -> list[Sample]:
    """Every sample that is stored, by its body."""
    found = []
    for partition in await store.partitions():
        for day in DAYS:
            found += map(Sample.decode, await store.redis.hvals(store._keys(partition).bodies(str(run), day)))
    return found


async def unindex(store: TallyStore, run: Run = RUN) -> None:
    """Make a run one that was begun before there was an index."""
    for partition in await store.partitions():
        at = store._keys(partition)
        await store.redis.hdel(at.run(str(run)), "indexed")
        await store.redis.delete(at.names, at.indexed_days(str(run)), *(at.index(str(run), day) for day in DAYS))


QUERIES = st.builds(
    lambda **asked: Query(**asked),
    direction=st.sampled_from([None, "live_only", "candidate_only"]),
    agreements=st.booleans(),
    segment=st.sampled_from([None, "all", "country=DE", "country=FR", "country=nowhere"]),
    min_amount=st.sampled_from([None, 20.0]),
    max_amount=st.sampled_from([None, 300.0]),
    min_gap=st.sampled_from([None, -0.6]),
    since=st.sampled_from([None, "2026-01-10T00:00:00Z"]),
    card=st.sampled_from([None, None, "c1"]),
    transaction=st.sampled_from([None, None, None, "t7"]),
    sort=st.sampled_from(["time", "amount", "gap"]),
    ascending=st.booleans(),
    limit=st.sampled_from([1, 7, 10_000]),
    after=st.sampled_from([0, 0, 3, 500]),
)


@given(
    writes=st.lists(
        st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(DAYS), st.integers(1, 400), st.integers(1, 2)),
        min_size=1,
        max_size=6,
    ),
    edited=st.booleans(),
    erased=st.sampled_from([None, "c0", "c1"]),
    is_indexed=st.booleans(),
    queries=st.lists(QUERIES, min_size=4, max_size=4),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_by_the_index_is_the_page_by_the_bodies(
    server: RedisServer, writes: Any, edited: bool, erased: str | None, is_indexed: bool, queries: list[Query]
) -> None:
    """Over writes that evict what was kept, an edited list of segments, an erased card, and old runs."""

    async def story() -> None:
        client = connect(f"redis://{server.address}/0")
        await client.flushall()
        store, n = TallyStore(client, "candidate", SEGMENTS), 0
        for partition, day, count, segment in writes:
            await write(store, partition, [offered(n + i, day=day, segment=segment) for i in range(count)])
            n += count
        if edited:  # the same segments elsewhere in the list, and a new one
            names = ("all", "country=FR", "country=DE")
            later = TallyStore(client, "candidate", names)
            await write(later, 0, [offered(n + i, names, segment=1 + i % 2) for i in range(80)])
            n += 80
        if not is_indexed:
            await unindex(store)
        if erased is not None:
            gone = await SampleEraser(client, "candidate").erase(erased)
            assert gone <= n
        there = await bodies(store)
        assert erased is None or not [sample for sample in there if sample.card_id == erased]
        reader = SampleReader(client, "candidate")
        for query in queries:
            want = [sample for sample in there if matches(sample, query, 100.0)]
            keys: dict[str, Any] = {
                "time": lambda sample: sample.occurred_ms,
                "amount": lambda sample: sample.amount_minor,
                "gap": lambda sample: abs(sample.gap or 0.0),
            }
            key = keys[query.sort]
            want.sort(key=lambda sample: (key(sample), sample.hash), reverse=not query.ascending)
            page, total = await reader.page(RUN, query, 100.0)
            assert total == len(want)
            want = want[query.after : query.after + query.limit]
            assert [replace(sample, inclusion_probability=1.0) for sample in page] == want
        for sample in await samples_of(store, RUN):
            taus = [await _tau(store, sample, stratum) for stratum in sample.strata]
            assert sample.inclusion_probability == max(taus)
        await client.aclose()

    asyncio.run(story())


async def _tau(store: TallyStore, sample: Sample, stratum: str) -> float:
    for partition in await store.partitions():
        for day in DAYS:
            at = store._keys(partition)
            if await store.redis.hexists(at.bodies(str(RUN), day), str(sample.offset)):
                return float(await store.redis.hget(at.taus(str(RUN), day), stratum) or 1.0)
    raise AssertionError(sample.offset)


@pytest.fixture
def store(client: Any) -> TallyStore:
    return TallyStore(client, "candidate", SEGMENTS)


async def _index(store: TallyStore, day: int = 4) -> Any:
    return unpacked(await store.redis.get(store._keys(0).index(str(RUN), day)) or b"")


async def test_an_index_stays_small_however_many_are_evicted(store: TallyStore) -> None:
    """Offered in the order of falling hashes every one is taken, and pushes another one out."""
    falling = sorted((offered(n, outcome=Outcome.LIVE_ONLY) for n in range(2000)), key=lambda one: -one.value)
    most = 0
    for start in range(0, len(falling), 40):
        await write(store, 0, falling[start : start + 40])
        most = max(most, len(await _index(store)))
    kept = await samples_of(store, RUN)
    assert len(kept) == KEEP_DISAGREEMENTS
    assert {sample.offset for sample in kept} == {one.source for one in falling[-KEEP_DISAGREEMENTS:]}
    assert most > 2 * KEEP_DISAGREEMENTS, "it was never compacted"
    assert most <= 256 + 2 * KEEP_DISAGREEMENTS + 80
    assert 0 < await store.redis.ttl(store._keys(0).index(str(RUN), 4)) <= 30 * 86_400, "compaction keeps its end"


async def test_an_index_lives_as_long_as_its_samples(store: TallyStore) -> None:
    await write(store, 0, [offered(n) for n in range(10)])
    at, name = store._keys(0), str(RUN)
    ends = [await store.redis.pttl(key) for key in (at.bodies(name, 4), at.index(name, 4), at.indexed_days(name))]
    assert max(ends) - min(ends) < 100
    await store.redis.delete(at.bodies(name, 4), at.index(name, 4))
    assert await samples_of(store, RUN) == []


async def test_a_replayed_range_changes_no_index(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    what = an_increment()
    what.samples = [offered(n) for n in range(300)]
    assert isinstance(await store.apply(0, fence, 8, what), Applied)
    before = (await _index(store)).tobytes()
    await store.apply(0, fence, 8, what)
    assert (await _index(store)).tobytes() == before
    again = replace_samples(what.samples[:5])
    assert isinstance(await store.apply(0, Fence(fence.nonce, 8, 10, False), 9, again), Applied)
    assert len(await samples_of(store, RUN)) == await store.redis.hlen(store._keys(0).bodies(str(RUN), 4))


def replace_samples(samples: list[Offered]) -> Any:
    what = an_increment(source=11)
    what.samples = samples
    return what


async def test_a_run_that_was_begun_without_an_index_never_gets_a_part_of_one(store: TallyStore) -> None:
    await write(store, 0, [offered(n) for n in range(20)])
    await unindex(store)
    await write(store, 0, [offered(n) for n in range(20, 40)])
    await write(store, 0, [offered(n, run="L1-C2") for n in range(40, 50)], Run(1, 2))
    assert not len(await _index(store))
    assert len(await samples_of(store, RUN)) == len(await bodies(store)) > 20
    assert await store.redis.exists(store._keys(0).index("L1-C2", 4)), "one that begins now has an index"
    assert len(await samples_of(store, Run(1, 2))) == 10


async def test_what_is_erased_leaves_no_entry_behind_kept_or_not(store: TallyStore) -> None:
    """Neither its amount nor its time: not even of a sample that has been evicted before."""
    same = {"card_id": "the-card"}
    falling = sorted(
        (offered(n, outcome=Outcome.LIVE_ONLY, transaction=same if n % 2 else None) for n in range(150)),
        key=lambda one: -one.value,
    )
    await write(store, 0, falling[:100])
    await write(store, 0, falling[100:])
    entries = await _index(store)
    assert (entries["kind"] == GONE).any(), "nothing was evicted"
    gone = await SampleEraser(store.redis, "candidate").erase("the-card")
    assert gone == sum(one.source % 2 for one in falling[-KEEP_DISAGREEMENTS:])
    left = await _index(store)
    assert len(left) == KEEP_DISAGREEMENTS - gone
    assert not set(left["offset"].tolist()) & {one.source for one in falling if one.source % 2}
    assert 0 < await store.redis.ttl(store._keys(0).index(str(RUN), 4)) <= 30 * 86_400
    assert await SampleEraser(store.redis, "candidate").erase("the-card") == 0


async def test_a_sample_that_goes_while_a_page_is_read_is_left_out(store: TallyStore) -> None:
    await write(store, 0, [offered(n, outcome=Outcome.LIVE_ONLY) for n in range(30)])
    reader = SampleReader(store.redis, "candidate")
    found = await reader.find(RUN, Query(limit=100), 100.0)
    await store.redis.hdel(store._keys(0).bodies(str(RUN), 4), "3", "4")
    assert len([sample async for sample in reader.samples(RUN, found)]) == found.total - 2 == 28


async def test_a_long_page_is_read_in_parts_and_in_order(store: TallyStore) -> None:
    for day in (4, 5):
        for segment in (1, 2):
            many = [offered(n, day=day, segment=segment) for n in range(400 * day + segment, 400 * day + 400, 2)]
            await write(store, day % 3, many)
    page, total = await SampleReader(store.redis, "candidate").page(
        RUN, Query(sort="amount", agreements=True, limit=10_000), 1.0
    )
    assert total == len(page) > CHUNK
    amounts = [sample.amount_minor for sample in page]
    assert amounts == sorted(amounts, reverse=True)


async def test_an_unknown_run_has_no_samples(store: TallyStore) -> None:
    await write(store, 0, [offered(1, outcome=Outcome.LIVE_ONLY)])
    assert await samples_of(store, Run(7, 7)) == []
