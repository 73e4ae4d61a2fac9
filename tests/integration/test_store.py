"""The store on a real Valkey (and a real Redis where there is one): what is applied is applied once, and bounded."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from faust.types import TP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.kept import samples_of
from harness.samples import a_sample
from harness.stores import RedisServer, debian_redis, valkey
from scorer.errors import UserError
from scorer.streaming.fetch import Batch
from shadow.comparison.bins import BINS, FEATURE_BINS, KINDS
from shadow.comparison.card_days import DIRECTIONS, Blocked, DaySums, count
from shadow.comparison.case import card_hash
from shadow.comparison.increment import Increment, Offered, add
from shadow.comparison.index import entry_of, names_digest
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Contribution
from shadow.comparison.sampling import KEEP_AGREEMENTS, KEEP_DISAGREEMENTS, Stratum, keep, sample_hashes
from shadow.comparison.totals import COLUMNS, LATE, LATE_DAY, Run
from shadow.gate.sums import CUT, WHOLE
from shadow.local.process import free_port
from shadow.store.connection import connect, telling
from shadow.store.keys import Keys
from shadow.store.reader import TallyReader
from shadow.store.tallies import Applied, Fence, Stale, TallyStore, Wiped
from shadow.worker.partitions import Partitions
from shadow.worker.reading import Reading

RUN = Run(1, 1)
SEGMENTS = ("all", "country=DE", "country=other")


on_redis, variant = pytest.mark.needs("redis"), pytest.mark.variant
SERVERS = [
    "valkey",
    pytest.param("redis", marks=on_redis),
    pytest.param("valkey with a file", marks=variant),
    pytest.param("redis with a file", marks=[on_redis, variant]),
]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = valkey() if request.param.startswith("valkey") else str(debian_redis())
    with RedisServer(tmp_path_factory.mktemp("store"), binary, appendonly="file" in request.param) as running:
        yield running


@pytest.fixture
def store(client: Any) -> TallyStore:
    return TallyStore(client, "candidate", SEGMENTS)


pytestmark = pytest.mark.anyio


def an_increment(n: int = 1, hour: int = 100, source: int = 10, run: Run = RUN) -> Increment:
    """n transactions that both allow, 250 minor units each, in Germany."""
    sums = np.zeros((len(SEGMENTS), COLUMNS), dtype=np.int64)
    sums[:2, 0] = n
    sums[:2, 4] = 250 * n
    what = Increment(tallies={(run, hour): sums}, source=source)
    what.meta[run] = {"live_digest": "a" * 64, "candidate_digest": "b" * 64, "live_threshold": "0.5"}
    what.meta[run] |= {"candidate_threshold": "0.25", "first_offset": "0"}
    what.reach[run] = source + 1
    what.counters[run]["repeats"] = 1
    return what


async def counts(store: TallyStore, run: Run = RUN) -> list[int]:
    return [int(count) for count in (await store.totals(run)).segments["all"].counts]


async def test_a_range_is_applied_once_and_read_back(store: TallyStore) -> None:
    fence = await store.open_partition(0, 5)
    assert (fence.next, fence.source, fence.is_new) == (5, -1, True)
    assert isinstance(await store.apply(0, fence, 8, an_increment(3)), Applied)
    again = await store.open_partition(0, 0)
    assert again == Fence(fence.nonce, 8, 10, False)
    assert await store.stands(0, again)
    assert not await store.stands(0, fence)
    totals = await store.totals(RUN)
    assert totals.compared == 3
    assert totals.hours == 1
    assert totals.repeats == 1
    assert totals.segments["country=DE"].minor.tolist() == [750, 0, 0, 0]
    assert totals.segments["country=other"].compared == 0
    assert totals.live_digest == "a" * 64
    (info,) = await store.runs()
    assert (info.live_threshold, info.candidate_threshold, info.offsets) == (0.5, 0.25, {0: (0, 11)})


async def test_a_run_that_has_begun_goes_on_with_a_new_owner_whatever_the_clocks_say_by_then(store: TallyStore) -> None:
    """A scorer's clock was set back: all that it sends bears times from before the slot was filled."""
    nothing: Any = None
    consumer = SimpleNamespace(turns=defaultdict(int), first_since=AsyncMock(return_value=0))
    app: Any = SimpleNamespace(consumer=consumer, should_stop=False)
    reading, epoch = Reading(app, "decisions", ["candidate"]), RUN.candidate_epoch
    partitions = Partitions(reading, "candidate", store, nothing, lambda: 1000)
    late = Batch(TP("decisions", 0), [SimpleNamespace(offset=at, timestamp=900) for at in (8, 9)], 10, 8, nothing, 0)
    part = await partitions.open(0, 0)
    assert part.begins(late, 8, epoch, 1000) == 10, "it has not begun"
    await store.apply(0, part.fence, 8, an_increment(3))
    part = await partitions.open(0, 0)
    assert part.begins(late, 8, epoch, 1000) == 8
    assert part.begins(late, 8, epoch + 1, 1000) == 10, "that of another candidate has not"


async def test_a_partition_says_where_it_began_unless_an_older_release_opened_it(store: TallyStore) -> None:
    assert not await store.is_known(0)
    await store.open_partition(0, 5)
    assert await store.is_known(0)
    await store.open_partition(0, 7)
    await store.redis.hset(Keys("shadow", "candidate", 1).fence, mapping={"nonce": "a", "next": 9})
    await store.open_partition(1, 11)
    assert [(part.first, part.next) for part in await store.progress()] == [(5, 5), (0, 9)]


async def test_workers_that_open_a_new_partition_at_once_agree_on_where_it_begins(store: TallyStore) -> None:
    fences = await asyncio.gather(*(store.open_partition(0, begin) for begin in range(20)))
    (progress,) = await store.progress()
    assert {(fence.nonce, fence.next) for fence in fences} == {(fences[0].nonce, progress.first)}
    assert progress.first == progress.next
    assert sum(fence.is_new for fence in fences) == 1


async def test_a_replay_is_refused_and_changes_nothing(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    await store.apply(0, fence, 8, an_increment(3))
    assert await store.apply(0, fence, 8, an_increment(3)) == Stale(8)
    assert await store.apply(0, Fence(fence.nonce, 9, 10, False), 12, an_increment(3)) == Stale(8)
    assert await counts(store) == [3, 0, 0, 0]


async def test_of_workers_that_race_for_a_range_one_wins(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    outcomes = await asyncio.gather(*(store.apply(0, fence, 8, an_increment(3)) for _ in range(20)))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Applied"] + ["Stale"] * 19
    assert await counts(store) == [3, 0, 0, 0]


async def test_after_a_wipe_the_old_fence_is_refused(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    await store.apply(0, fence, 8, an_increment(3))
    await store.redis.flushall()
    after = Fence(fence.nonce, 8, 10, False)
    assert await store.apply(0, after, 9, an_increment()) == Wiped()
    assert await store.record_gap(0, after, 9) == Wiped()
    fresh = await store.open_partition(0, 2)
    assert fresh.nonce != fence.nonce
    assert await store.apply(0, after, 9, an_increment()) == Wiped(), "a fence of another life"
    assert await store.apply(0, fresh, 9, an_increment()) == Applied({})


async def test_store_gone_back_in_time_recounts_from_its_own_fence(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    await store.apply(0, fence, 8, an_increment(3))
    dumped = {key: await store.redis.dump(key) for key in await store.redis.keys("*")}
    await store.apply(0, Fence(fence.nonce, 8, 10, False), 11, an_increment(3, source=13))
    await store.redis.flushall()
    for key, value in dumped.items():
        await store.redis.restore(key, 0, value)
    assert await store.apply(0, Fence(fence.nonce, 11, 13, False), 12, an_increment()) == Stale(8)
    assert await store.apply(0, Fence(fence.nonce, 8, 10, False), 12, an_increment(4)) == Applied({})
    assert await counts(store) == [7, 0, 0, 0]


async def test_a_gap_is_recorded_once_and_moves_the_fence(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    assert await store.record_gap(0, fence, 40) == Applied({})
    assert await store.record_gap(0, fence, 40) == Stale(40)
    assert await store.apply(0, fence, 50, an_increment()) == Stale(40)
    (progress,) = await store.progress()
    assert (progress.next, progress.gap, progress.gaps) == (40, 40, ("0-40",))
    await store.apply(0, Fence(fence.nonce, 40, -1, False), 50, an_increment())
    assert (await store.totals(RUN)).gap == 40


async def test_partitions_and_runs_are_apart_and_add_up(store: TallyStore) -> None:
    other = Run(2, 1)
    for partition in range(3):
        fence = await store.open_partition(partition, 0)
        what = an_increment(2, hour=100 + partition)
        add(what, an_increment(5, hour=200, run=other))
        await store.apply(partition, fence, 7, what)
    assert await counts(store) == [6, 0, 0, 0]
    assert await counts(store, other) == [15, 0, 0, 0]
    assert (await store.totals(RUN)).hours == 3
    assert (await store.totals(other)).hours == 1
    assert {hour: part.compared for hour, part in (await store.hourly(RUN, "all")).items()} == {100: 2, 101: 2, 102: 2}
    assert [info.run for info in await store.runs()] == [RUN, other]
    assert (await TallyStore(store.redis, "control", SEGMENTS).totals(RUN)).compared == 0


async def test_books_belong_together_while_a_worker_moves_on(store: TallyStore) -> None:
    begun, later, steps = await store.open_partition(0, 5), Run(1, 2), 300

    async def work() -> None:
        fence = begun
        for step in range(steps):
            what = an_increment(3, source=fence.next + 2, run=RUN if step < steps // 2 else later)
            assert isinstance(await store.apply(0, fence, fence.next + 3, what), Applied)
            fence = Fence(fence.nonce, fence.next + 3, fence.next + 2, False)

    many = tuple(f"card_country={n}" for n in range(200))  # more than a server reads from a client at a time
    worker, seen, reader = asyncio.create_task(work()), [], TallyReader(store.redis, "candidate", (*SEGMENTS, *many))
    while not worker.done():
        books = await reader.books(0)
        compared = [totals.compared for _, totals in books.runs]
        assert books.progress.next == begun.next + sum(compared)
        assert [totals.repeats for _, totals in books.runs] == [n // 3 for n in compared]
        assert [info.offsets[0][1] for info, _ in books.runs][-1:] in ([], [books.progress.next])
        seen.append(sum(compared))
    await worker
    assert len(set(seen)) > 10, "not while it moved"
    books = await store.books(0)
    assert [repr(totals) for _, totals in books.runs] == [repr(await store.totals(run)) for run in (RUN, later)]
    assert [info for info, _ in books.runs] == await store.runs()
    assert [books.progress] == await store.progress()


async def test_histograms_add_up_by_day_and_partition_and_in_all(store: TallyStore) -> None:
    """In cells as large as money gets, in more of them than one command takes."""
    rng = np.random.default_rng(1)
    days = {4: 0, 5: 0, LATE_DAY: 0}
    shape = (len(SEGMENTS), len(KINDS), BINS)
    sums = {(p, day): rng.integers(0, 10**12, shape) * (rng.random(shape) < 0.5) for p in (0, 3) for day in days}
    views = {(p, day): rng.integers(0, 1000, (2, FEATURE_BINS)) for p in (0, 3) for day in days}
    for partition in (0, 3):
        fence = await store.open_partition(partition, 0)
        for n in range(2):
            what = an_increment(hour=100, source=10 + n)
            what.histograms = {(RUN, day): sums[partition, day] for day in days}
            what.snapshots = {(RUN, day, "v1-abc"): views[partition, day] for day in days}
            assert isinstance(await store.apply(partition, fence, n + 1, what), Applied)
            assert isinstance(await store.apply(partition, fence, n + 1, what), Stale), "applied twice"
            fence = await store.open_partition(partition, 0)
    found = await store.histograms(RUN, [5, 4, 77], SEGMENTS[:2])
    assert found.shape == (2, 3, 2, len(KINDS), BINS)
    for at, partition in enumerate((0, 3)):
        assert (found[at, 0] == 2 * sums[partition, 5][:2]).all()
        assert (found[at, 1] == 2 * sums[partition, 4][:2]).all()
    assert not found[:, 2].any()
    whole = sum(2 * part for part in sums.values())
    totals = await store.totals(RUN)
    for at, segment in enumerate(SEGMENTS):
        assert (totals.segments[segment].scores == whole[at]).all()
    snapshots = await store.snapshots(RUN, [4, LATE_DAY], "v1-abc", 3)
    for at, partition in enumerate((0, 3)):
        for n, day in enumerate((4, LATE_DAY)):
            assert (snapshots[at, n, :2] == 2 * views[partition, day]).all()
    assert not snapshots[:, :, 2].any()
    assert not (await store.histograms(Run(9, 9), [4], SEGMENTS)).any()
    ttl = await store.redis.ttl("shadow:{candidate:0}:2:h:L1-C1:4:all")
    assert 59 * 86_400 < ttl <= 60 * 86_400
    assert await store.redis.ttl("shadow:{candidate:0}:2:h:L1-C1:total:all") == -1


async def test_late_transactions_count_but_cover_no_hour(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    await store.apply(0, fence, 8, an_increment(3, hour=LATE))
    totals = await store.totals(RUN)
    assert (totals.compared, totals.hours) == (3, 0)


def a_block(card: str, hour: int = 100, outcome: Outcome = Outcome.LIVE_ONLY, parts: int = 100) -> Blocked:
    return Blocked(RUN, hour, card, outcome, parts, (0, 1))


async def test_a_card_counts_once_a_day_by_all_that_was_blocked_of_it(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    what = an_increment()
    what.blocked = [
        a_block("x"),
        a_block("x", 101),
        a_block("x", 102, Outcome.CANDIDATE_ONLY),
        a_block("y", 101, Outcome.CANDIDATE_ONLY),
    ]
    await store.apply(0, fence, 8, what)
    later = an_increment(hour=124)
    later.blocked = [a_block("x", 103), a_block("x", 103, Outcome.BOTH_BLOCK), a_block("x", 124)]
    await store.apply(0, Fence(fence.nonce, 8, 10, False), 9, later)
    totals = await store.totals(RUN)
    for segment in ("all", "country=DE"):
        part = totals.segments[segment]
        kinds = {at: int(part.cells[at]) for at in np.flatnonzero(part.cells)}
        # x blocked by both, by live, and by the candidate; y by the candidate; x by live on the next day
        assert kinds == {1 + 2 + 4: 1, 4: 1, 2: 1}
        assert part.pairs.tolist() == [2, 2]
        assert part.tops[WHOLE].tolist() == [100, 300, 400]
        assert part.money[CUT, :2].tolist() == [100 - 300 + 100 - 100, 400 + 0 + 100]
    assert totals.segments["country=other"].cells.sum() == 0
    daily = await store.daily(RUN, ("all", "country=other"))
    assert {day: parts["all"].pairs.tolist() for day, parts in daily.items()} == {4: [1, 2], 5: [1, 0]}
    assert [parts["all"].compared for parts in daily.values()] == [1, 1]


STREAM = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from([100, 119, 120]), st.sampled_from(DIRECTIONS), st.integers(0, 5000)
    ),
    min_size=1,
    max_size=24,
)


@given(STREAM, st.sets(st.integers(1, 23)), st.sets(st.integers(0, 23)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cards_are_counted_exactly_once_whatever_takes_over(
    server: RedisServer, stream: list[tuple[str, int, Outcome, int]], cuts: set[int], repeated: set[int]
) -> None:
    """The stream is applied in ranges, each by another worker. Some ranges come twice, at once and late, from workers
    that read the cards' states before they were refused."""
    asyncio.run(_taken_over(server, [a_block(*one) for one in stream], cuts, repeated))


async def _taken_over(server: RedisServer, stream: list[Blocked], cuts: set[int], repeated: set[int]) -> None:
    client = connect(f"redis://{server.address}/0")
    await client.flushall()
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    late: list[tuple[Fence, int, Increment]] = []
    for start, end in pairwise(edges):
        worker = TallyStore(client, "candidate", SEGMENTS)
        fence = await worker.open_partition(0, 0)
        assert fence.next == start
        what = an_increment(end - start, source=end)
        what.blocked = stream[start:end]
        calls = [worker.apply(0, fence, end, what) for _ in range(1 + (start in repeated))]
        outcomes = await asyncio.gather(*calls)
        assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 1
        late.append((fence, end, what))
    for fence, end, what in late:  # zombies
        assert isinstance(await TallyStore(client, "candidate", SEGMENTS).apply(0, fence, end, what), Stale)
    changes, _ = count(stream, {}, len(SEGMENTS))
    due = DaySums.of(len(SEGMENTS))
    for change in changes.values():
        due = due.with_more(change)
    found = (await TallyReader(client, "candidate", SEGMENTS).totals(RUN)).segments
    for at, segment in enumerate(SEGMENTS):
        assert found[segment].day_columns.tolist() == due.sums[at].tolist()
        assert found[segment].tops.ravel().tolist() == due.tops[at].tolist()
    await client.aclose()


async def test_no_hash_of_a_card_is_kept_that_its_number_alone_leads_to(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    what = an_increment()
    what.blocked = [a_block(card_hash("card-1"))]
    await store.apply(0, fence, 8, what)
    key = store._keys(0).cards(str(RUN), 4, SEGMENTS)
    ((field, state),) = (await store.redis.hgetall(key)).items()
    plain = hashlib.blake2b(b"card-1", digest_size=8).digest()
    assert field not in (plain, plain.hex().encode(), card_hash("card-1").encode())
    assert len(field) == 8
    assert len(state) <= 8
    assert 0 < await store.redis.ttl(key) <= 60 * 86_400


async def test_cards_of_a_day_are_forgotten_on_the_eighth_day_after(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    for day in range(20):
        what = an_increment(hour=24 * day, source=day)
        what.blocked = [a_block("x", 24 * day)]
        assert isinstance(await store.apply(0, fence, fence.next + 1, what), Applied)
        fence = await store.open_partition(0, 0)
    kept = [key.decode().split(":")[-2] for key in await store.redis.keys("*:cards:*")]
    assert sorted(map(int, kept)) == list(range(12, 20))
    assert (await store.totals(RUN)).segments["all"].pairs.tolist() == [20, 0]


async def test_tallies_of_a_former_version_are_told_apart_and_deleted(store: TallyStore) -> None:
    assert await store.forget_former(0) is None
    base, run = "shadow:{candidate:0}", str(RUN)
    await store.redis.hset(f"{base}:fence", mapping={"nonce": "n", "next": 70, "source": 69})
    await store.redis.sadd(f"{base}:runs", run)
    await store.redis.sadd(f"{base}:hours:{run}", 100)
    await store.redis.hset(f"{base}:t:{run}:total:all", mapping={"c1": 5, "p0": 2, "q2": 9})
    await store.redis.sadd(f"{base}:pairs:{run}:4", "0123456789abcdef")
    await store.redis.hset(f"{base}:s:{run}:run", "5", "body")
    fence = await store.open_partition(0, 5)
    assert (fence.next, fence.is_new) == (5, True), "a former fence is not this version's"
    assert (await store.totals(RUN)).compared == 0
    assert await store.forget_former(0) == 70
    left = {key.decode() for key in await store.redis.keys(f"{base}:*")}
    assert left == {store._keys(0).fence}
    assert await store.forget_former(0) is None


def an_offer(source: int, outcome: int, segments: tuple[int, ...] = (0, 1), **changes: Any) -> Offered:
    value = float(sample_hashes([f"t{source}"])[0])
    strata: list[Stratum] = [(str(RUN), 4, outcome, segment) for segment in segments]
    names = [SEGMENTS[segment] for segment in segments]
    sample = a_sample(source, outcome=Outcome(outcome), segments=names, hash=value, **changes)
    return Offered(source, value, sample.encode(), strata, entry_of(sample, segments, names_digest(SEGMENTS)))


def wanted(samples: list[Offered]) -> tuple[set[int], dict[Stratum, float]]:
    """What bottom-k keeps of all of them, and the smallest hash that each stratum refuses."""
    strata: dict[Stratum, list[tuple[float, int]]] = defaultdict(list)
    for sample in samples:
        for stratum in sample.strata:
            strata[stratum].append((sample.value, sample.source))
    kept, taus = set(), {}
    for stratum, values in strata.items():
        values.sort()
        k = keep(stratum[2])
        kept |= {source for _, source in values[:k]}
        if len(values) > k:
            taus[stratum] = values[k][0]
    return kept, taus


@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_samples_are_the_bottom_k_however_the_stream_is_cut(server: RedisServer, data: st.DataObject) -> None:
    samples = [
        an_offer(source, data.draw(st.sampled_from([0, 2, 3])), data.draw(st.sampled_from([(0, 1), (0, 2)])))
        for source in range(data.draw(st.sampled_from([3, 40, 260])))
    ]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(samples)), max_size=6)) | {len(samples)})
    asyncio.run(_cut(server, samples, cuts))


async def _cut(server: RedisServer, samples: list[Offered], cuts: list[int]) -> None:
    client = connect(f"redis://{server.address}/0")
    await client.flushall()
    store = TallyStore(client, "candidate", SEGMENTS)
    fence, start, taus = await store.open_partition(0, 0), 0, {}
    for end in cuts:
        what = an_increment(end - start, source=end)
        what.samples = samples[start:end]
        outcome = await store.apply(0, fence, end, what)
        assert isinstance(outcome, Applied)
        taus |= outcome.taus
        fence, start = Fence(fence.nonce, end, end, False), end
    kept, tau = wanted(samples)
    found = await samples_of(store, RUN)
    assert {sample.offset for sample in found} == kept
    assert taus == pytest.approx(tau)
    assert await store.taus(0) == pytest.approx(tau)
    by_source = {sample.source: sample for sample in samples}
    for sample in found:
        chances = [tau.get(stratum, 1.0) for stratum in by_source[sample.offset].strata]
        assert sample.inclusion_probability == pytest.approx(max(chances))
    await client.aclose()


async def test_memory_for_samples_is_bounded(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    for start in range(0, 4000, 500):
        what = an_increment(500, source=start + 500)
        what.samples = [an_offer(source, source % 4) for source in range(start, start + 500)]
        assert isinstance(await store.apply(0, fence, start + 500, what), Applied)
        fence = Fence(fence.nonce, start + 500, start + 500, False)
    # both strata of a transaction are the same transactions here, so both keep the same ones
    assert len(await samples_of(store, RUN)) == 2 * KEEP_DISAGREEMENTS + 2 * KEEP_AGREEMENTS
    bodies = await store.redis.hlen(store._keys(0).bodies(str(RUN), 4))
    assert bodies == 2 * KEEP_DISAGREEMENTS + 2 * KEEP_AGREEMENTS
    waiting = await store.redis.scard(store._keys(0).why)
    assert waiting == bodies, "what is no longer kept waits for no explanation, explained or not"


async def test_a_sample_is_explained_if_it_is_still_there(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    what = an_increment()
    what.samples = [an_offer(1, 2), an_offer(2, 3)]
    await store.apply(0, fence, 8, what)
    waiting = dict(await store.unexplained(0, 10))
    assert len(waiting) == 2
    name, sample = next(iter(waiting.items()))
    why = (Contribution("amount", 1.0, 0.0, 0.5, 0.5),)
    assert await store.explain(0, name, sample.explained(why))
    assert len(await store.unexplained(0, 10)) == 1
    assert [s.why for s in await samples_of(store, RUN) if s.offset == sample.offset] == [why]
    gone, body = next(iter(await store.unexplained(0, 10)))
    await store.redis.delete(store._keys(0).bodies(str(RUN), 4))
    assert not await store.explain(0, gone, body)
    assert await store.unexplained(0, 10) == []


async def test_every_key_of_a_range_is_in_one_cluster_slot(store: TallyStore) -> None:
    fence = await store.open_partition(3, 0)
    what = an_increment()
    what.blocked, what.samples = [a_block("x")], [an_offer(1, 2)]
    await store.apply(3, fence, 8, what)
    keys = [key.decode() for key in await store.redis.keys("*")]
    tagged = [key for key in keys if "{candidate:3}" in key]
    assert sorted(set(keys) - set(tagged)) == ["shadow:candidate:partitions", "shadow:salt", "shadow:slots"]


async def test_hours_and_samples_expire_and_totals_stay(store: TallyStore) -> None:
    fence = await store.open_partition(0, 0)
    what = an_increment()
    what.blocked, what.samples = [a_block("x")], [an_offer(1, 2)]
    await store.apply(0, fence, 8, what)
    at, name = store._keys(0), str(RUN)
    for key in (
        at.tally(name, 100, "all"),
        at.card_sums(name, 4, "all"),
        at.cards(name, 4, SEGMENTS),
        at.bodies(name, 4),
        at.stratum(name, 4, 2, "all"),
    ):
        assert 0 < await store.redis.ttl(key) <= 60 * 86_400, key
    for key in (
        at.tally(name, "total", "all"),
        at.card_sums(name, "total", "all"),
        at.fence,
        at.hours(name),
        at.run(name),
    ):
        assert await store.redis.ttl(key) == -1, key


def test_a_store_that_is_away_is_told_in_one_line() -> None:
    address = f"redis://:secret@127.0.0.1:{free_port()}/0"

    async def ask() -> Any:
        with telling(address):
            await TallyStore(connect(address), "candidate", SEGMENTS).ping()

    with pytest.raises(UserError, match="SHADOW_REDIS") as told:
        asyncio.run(ask())
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)
