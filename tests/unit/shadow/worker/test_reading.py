"""Slots of one worker share what it reads: each decision counts once for each of them, whoever has to go back."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from scorer.streaming.fetch import Batch
from shadow.comparison.increment import Increment
from shadow.comparison.memory import REMEMBERED, Memory
from shadow.comparison.sampling import Thresholds
from shadow.store.tallies import Applied, Fence, Stale, Wiped
from shadow.worker.partitions import LOOK_BACK, Partition, Partitions
from shadow.worker.reading import Reading

TOPIC, SLOTS = TP("decisions", 0), ("candidate", "control", "previous")


class Consumer:
    """One partition of a broker, from which batches are read, and rewound as `BatchConsumer` does it."""

    def __init__(self, end: int) -> None:
        self.end, self.next, self.oldest = end, 0, 0
        self.turns: Counter[TP] = Counter()
        self.finished: list[Batch] = []
        self.dropped: list[Batch] = []

    def batch(self, size: int) -> Batch | None:
        first, self.next = self.next, min(self.end, self.next + size)
        return a_batch(first, self.next, self.turns[TOPIC]) if first < self.next else None

    def finish(self, batch: Batch) -> None:
        self.finished.append(batch)

    def drop(self, batch: Batch) -> None:
        self.dropped.append(batch)

    def rewind(self, tp: TP, offset: int) -> int:
        self.turns[tp] += 1
        self.next = offset
        return self.turns[tp]

    async def earliest_offsets(self, tp: Any) -> dict[Any, int]:
        return {tp: self.oldest}

    async def first_since(self, tp: TP, moment_ms: int, oldest: int) -> int:
        return max(oldest, moment_ms)  # each record at the time of its offset

    def highwater(self, tp: TP) -> int:
        return self.end


def a_batch(first: int, end: int, turn: int = 0, expected: int | None = None) -> Batch:
    fetch: Any = None
    records = [SimpleNamespace(offset=at, timestamp=0) for at in range(first, end)]
    return Batch(TOPIC, records, end, first if expected is None else expected, fetch, turn)


class Store:
    """The Redis of a slot: a fence, and which decisions are counted, of which it may lose the last."""

    def __init__(self) -> None:
        self.counted: list[int] = []
        self.next, self.nonce = 0, 0
        self.is_away = False  # the bundle of its slot
        self.gaps: list[tuple[int, int]] = []
        self.begun: int | None = None  # where it begins, of a slot that is new

    async def forget_former(self, partition: int) -> None: ...
    async def taus(self, partition: int) -> dict[Any, float]:
        return {}

    async def newest_epoch(self, partition: int) -> int:
        return -1

    async def is_known(self, partition: int) -> bool:
        return self.begun is None

    async def open_partition(self, partition: int, begin: int) -> Fence:
        if self.begun is not None:
            self.begun = self.next = begin
        return Fence(str(self.nonce), self.next, -1, self.begun is not None)

    async def apply(self, partition: int, fence: Fence, to: int, increment: Increment) -> Any:
        if fence.nonce != str(self.nonce):
            return Wiped()
        if fence.next != self.next:
            return Stale(self.next)
        self.counted += [at for at in increment.reach.values() if at >= self.next]
        self.next = to
        return Applied({})

    async def record_gap(self, partition: int, fence: Fence, to: int) -> None:
        self.gaps.append((self.next, to))
        self.next = to

    def lose(self, keep: int) -> None:
        """Come back as it was when so many decisions were counted."""
        self.next = min(self.next, keep)
        self.counted = [at for at in self.counted if at < self.next]


def workers(consumer: Consumer, since_ms: int = 0) -> tuple[Reading, dict[str, tuple[Partitions, Store]]]:
    app: Any = SimpleNamespace(consumer=consumer, should_stop=False, rebalancing=False)
    counting: Any = SimpleNamespace(applied=lambda *_: None)
    reading, every = Reading(app, "decisions", SLOTS), {}
    for slot in SLOTS:
        store: Any = Store()
        every[slot] = Partitions(reading, slot, store, counting, lambda: since_ms), store
        reading.readers.append(every[slot][0])
    return reading, every


async def opened(consumer: Consumer) -> tuple[Reading, dict[str, tuple[Partitions, Store]]]:
    """The same, with the partition open."""
    reading, every = workers(consumer)
    for partitions, _ in every.values():
        partitions.owned[0] = await partitions.open(0, 0)
    return reading, every


async def take(reading: Reading, every: dict[str, tuple[Partitions, Store]], batch: Batch) -> None:
    """What `Shadow` does with a batch; decisions stand for themselves in the sums."""
    reading.take(batch)
    for partitions, store in every.values():
        if reading.is_outdated(batch):
            partitions.drop(batch)
            continue
        if store.is_away:
            partitions.pass_over(batch)
            continue
        part = await partitions.wanted(batch)
        if part is None:
            continue
        start, part.position = part.position, batch.next
        if partitions.owned.get(0) is not part:
            partitions.drop(batch)
            continue
        mine: Any = {object(): at.offset for at in batch.records if at.offset >= max(start, part.fence.next)}
        part.gather(batch, Increment(reach=mine))


async def take_next(consumer: Consumer, reading: Reading, every: dict[str, tuple[Partitions, Store]]) -> Batch:
    batch = consumer.batch(10)
    assert batch is not None
    await take(reading, every, batch)
    return batch


events = st.one_of(
    st.tuples(st.just("read"), st.integers(1, 9)),
    st.tuples(st.just("flush"), st.sampled_from(SLOTS)),
    st.tuples(st.just("lose"), st.sampled_from(SLOTS), st.integers(0, 40)),
    st.tuples(st.just("wipe"), st.sampled_from(SLOTS)),
    st.tuples(st.just("late"), st.integers(1, 9)),
    st.tuples(st.just("away"), st.sampled_from(SLOTS)),
    st.tuples(st.just("back"), st.sampled_from(SLOTS)),
)


@pytest.mark.anyio
@given(st.lists(events, max_size=40), st.integers(0, 40))
async def test_each_decision_counts_once_for_each_slot_whoever_goes_back(told: list[Any], end: int) -> None:
    consumer = Consumer(end)
    reading, every = await opened(consumer)
    taken: list[Batch] = []
    late: list[Batch] = []
    for what, *given_ in told:
        if what in ("read", "late") and (batch := consumer.batch(given_[0])) is not None:
            taken.append(batch)
            late.append(batch)
            if what == "read":  # else it comes after what happens next
                for one in late:
                    await take(reading, every, one)
                late.clear()
        elif what == "flush":
            partitions, _ = every[given_[0]]
            await partitions.flush(0, partitions.owned[0])
        elif what == "lose":
            every[given_[0]][1].lose(given_[1])
        elif what == "wipe":
            every[given_[0]][1].lose(0)
            every[given_[0]][1].nonce += 1
        elif what in ("away", "back"):
            partitions, store = every[given_[0]]
            store.is_away = what == "away"
            if what == "back":
                partitions.catch_up()
    for partitions, store in every.values():
        store.is_away = False
        partitions.catch_up()
    for one in late:
        await take(reading, every, one)
    for _ in range(200):
        for partitions, _ in every.values():
            await partitions.flush(0, partitions.owned[0])
        if all(store.next == end for _, store in every.values()):
            break
        if (batch := consumer.batch(7)) is not None:
            taken.append(batch)
            await take(reading, every, batch)
        else:  # as `check` does for a partition that Redis has lost
            for partitions, store in every.values():
                if store.next != partitions.owned[0].fence.next or partitions.owned[0].fence.nonce != str(store.nonce):
                    await partitions._go_back(0, "lost")
    for _, store in every.values():
        assert sorted(store.counted) == list(range(end)), "each once"
    ended = Counter(map(id, consumer.finished + consumer.dropped))
    assert ended == Counter(map(id, taken)), "a revocation waits for every batch, and nothing is acknowledged twice"
    assert reading._open == {}


@pytest.mark.anyio
async def test_a_batch_is_acknowledged_once_every_slot_has_written_it() -> None:
    consumer = Consumer(10)
    reading, every = await opened(consumer)
    batch = await take_next(consumer, reading, every)
    for at, (partitions, _) in enumerate(every.values()):
        assert (consumer.finished, consumer.dropped) == ([], []), f"after {at} slots"
        await partitions.flush(0, partitions.owned[0])
    assert (consumer.finished, consumer.dropped) == ([batch], [])


@pytest.mark.anyio
async def test_a_batch_that_one_slot_gave_up_is_not_acknowledged() -> None:
    consumer = Consumer(10)
    reading, every = await opened(consumer)
    batch = await take_next(consumer, reading, every)
    every["control"][1].nonce += 1
    for partitions, _ in every.values():
        await partitions.flush(0, partitions.owned[0])
    assert (consumer.finished, consumer.dropped) == ([], [batch])
    assert consumer.turns[TOPIC] == 1
    assert consumer.next == 0, "control reads it again"
    await take_next(consumer, reading, every)
    assert [bool(partitions.owned[0].waiting) for partitions, _ in every.values()] == [False, True, False]


@pytest.mark.anyio
async def test_a_batch_that_redis_never_got_of_one_slot_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is away while a rebalance begins: the next owner reads the batch again."""
    consumer = Consumer(10)
    reading, every = await opened(consumer)
    batch = await take_next(consumer, reading, every)
    away: Any = AsyncMock(side_effect=ConnectionError("gone"))
    monkeypatch.setattr(every["candidate"][1], "apply", away)
    reading.app.rebalancing = True
    for partitions, _ in every.values():
        await partitions.flush(0, partitions.owned[0])
    assert (consumer.finished, consumer.dropped) == ([], [batch])


@pytest.mark.anyio
async def test_a_slot_that_is_behind_is_read_for_and_the_others_pass_over_what_they_have() -> None:
    consumer = Consumer(100)
    reading, every = workers(consumer)
    every["candidate"][1].next, every["control"][1].next = 50, 80
    for partitions, _ in every.values():
        fence = await partitions._store.open_partition(0, 0)
        partitions.owned[0] = Partition(fence, fence.next, Memory(), Thresholds(), fence.next)
    reading.rewind(0)
    assert consumer.next == 0
    while (batch := consumer.batch(30)) is not None:
        await take(reading, every, batch)
    for partitions, _ in every.values():
        await partitions.flush(0, partitions.owned[0])
    found = {slot: (min(store.counted), len(store.counted)) for slot, (_, store) in every.items()}
    assert found == {"candidate": (50, 50), "control": (80, 20), "previous": (0, 100)}


@pytest.mark.anyio
async def test_a_hole_is_read_again_by_the_slot_that_has_it() -> None:
    consumer = Consumer(30)
    reading, every = await opened(consumer)
    await take_next(consumer, reading, every)
    every["previous"][0].owned[0].position = 5  # as if half of it had been given up
    await take_next(consumer, reading, every)
    assert consumer.next == 5
    assert [partitions.owned[0].position for partitions, _ in every.values()] == [20, 20, 5]


@pytest.mark.anyio
async def test_what_retention_took_is_a_gap_of_the_slots_that_had_not_read_it() -> None:
    consumer = Consumer(40)
    reading, every = await opened(consumer)
    for slot, at in (("candidate", 5), ("control", 20), ("previous", 30)):
        partitions, store = every[slot]
        store.next = at
        partitions.owned[0] = await partitions.open(0, 0)
        partitions.owned[0].position = at
    consumer.oldest = consumer.next = 20
    await take(reading, every, a_batch(20, 30, expected=5))
    consumer.next = 30 if not consumer.turns[TOPIC] else consumer.next
    while (batch := consumer.batch(10)) is not None:
        await take(reading, every, batch)
    for partitions, _ in every.values():
        await partitions.flush(0, partitions.owned[0])
    assert {slot: store.gaps for slot, (_, store) in every.items()} == {
        "candidate": [(5, 20)],
        "control": [],
        "previous": [],
    }
    assert [sorted(store.counted) for _, store in every.values()] == [
        [*range(20, 40)],
        [*range(20, 40)],
        [*range(30, 40)],
    ]
    assert reading._open == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("since_ms", "oldest", "begin"),
    [(0, 0, 0), (REMEMBERED, 0, 0), (REMEMBERED + 7, 0, 7), (REMEMBERED + 7, 50, 50), (10, 900_000, 900_000)],
)
async def test_a_new_slot_begins_with_what_it_may_count_and_what_it_has_to_remember(
    since_ms: int, oldest: int, begin: int
) -> None:
    consumer = Consumer(10**6)
    consumer.oldest = oldest
    _, every = workers(consumer, since_ms)
    (new, store), (known, _) = every["candidate"], every["control"]
    store.begun = -1
    part = await new.open(0, oldest)
    assert (store.begun, part.fence.next, part.position) == (begin, begin, max(oldest, begin - LOOK_BACK))
    assert (await known.open(0, 0)).position == 0, "a slot that Redis knows goes on where it was"
