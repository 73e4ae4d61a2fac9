"""What batch delivery relies on inside Faust: these fail when an upgrade changes it.

Each test runs real Faust apps on a real broker. Only names that no behaviour shows are looked up by themselves.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import ConsumerStoppedError, KafkaTimeoutError
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from harness.recorder import GROUP, PARTITIONS, TOPIC, Recorder, delivered, make_topic, running, send, until
from scorer.settings import ScorerSettings
from scorer.streaming.app import SupersededError
from scorer.streaming.consumer import BatchConsumer
from scorer.streaming.faust_internals import thread_of
from scorer.streaming.fetch import Batch
from scorer.streaming.thread import ConsumerThread
from shadow.local import embedded

on_a_loop = pytest.mark.anyio


@pytest.fixture
def settings(broker_in: Callable[[Path], embedded.Server | Kafka], tmp_path: Path) -> Iterator[ScorerSettings]:
    with broker_in(tmp_path) as broker:
        yield ScorerSettings(
            kafka=broker.address,  # type: ignore[arg-type]
            session_seconds=2.0,
            heartbeat_seconds=0.5,
            commit_seconds=0.1,
            batch_records=100,
        )


@asynccontextmanager
async def flowing(settings: ScorerSettings) -> AsyncIterator[None]:
    """A record every two milliseconds or so meanwhile."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, linger_ms=0)
    await producer.start()

    async def flow() -> None:
        while True:
            await producer.send(TOPIC, bytes(100), partition=0)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(flow())
    try:
        yield
    finally:
        task.cancel()
        await producer.stop()


async def committed(settings: ScorerSettings, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(TOPIC, partition))
        return offset
    finally:
        await consumer.stop()


@on_a_loop
async def test_batches_are_whole_and_nothing_is_committed_before_a_batch_is_finished(settings: ScorerSettings) -> None:
    await make_topic(settings)
    await send(settings, 250)
    async with running(settings) as worker:
        worker.waits_for_me = True
        await until("batches", lambda: len(worker.offsets) == 250)
        assert worker.offsets == [(0, offset) for offset in range(250)]
        assert len(worker.batches) <= 5, "records come in batches, not one by one"
        assert all(batch.offset == batch.expected for batch in worker.batches)
        await asyncio.sleep(0.5)
        assert not await committed(settings)
        batch = worker.open.pop(0)
        worker.app.consumer.finish(batch)
        await asyncio.sleep(0.5)
        assert await committed(settings) == batch.next
        worker.finish_all()
        await asyncio.sleep(0.5)
        assert await committed(settings) == 250


@on_a_loop
async def test_monitor_counts_records(settings: ScorerSettings) -> None:
    async with delivered(settings, 120) as worker:
        assert worker.app.monitor.messages_received_total == 120
        assert worker.app.monitor.messages_received_by_topic[TOPIC] == 120
        assert worker.app.monitor.tp_read_offsets[TP(TOPIC, 0)] == 119


@on_a_loop
async def test_a_record_on_an_idle_stream_comes_at_once(settings: ScorerSettings) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assignment", worker.app.is_assigned.is_set)
        await asyncio.sleep(0.5)
        loop, waits = asyncio.get_running_loop(), []
        for i in range(10):
            began = loop.time()
            await send(settings, 1)
            await until("record", lambda i=i: len(worker.offsets) > i)
            waits.append(loop.time() - began)
        assert sorted(waits)[5] < 0.3, f"Faust's own wait of 1.5 s is back: {waits}"
        made = {type(record) for batch in worker.batches for record in batch.records}
        assert ConsumerRecord not in made, "records are as they were parsed, also those that a fetch waited for"


@on_a_loop
async def test_fetches_gather_for_longer_while_they_wait_for_their_turn(settings: ScorerSettings) -> None:
    settings = settings.model_copy(update={"batch_records": 10_000})
    await make_topic(settings)
    async with running(settings) as worker, flowing(settings):
        await until("records", lambda: len(worker.offsets) > 100)
        fetcher = worker.app.consumer._thread._ensure_consumer()._fetcher
        assert fetcher._fetch_max_wait_ms <= settings.fetch_wait_ms, "with room for more, it waits no longer"
        least = fetcher._fetch_min_bytes
        worker.passing.clear()
        await until("longer", lambda: fetcher._fetch_max_wait_ms > 2 * settings.fetch_wait_ms)
        await until("more", lambda: fetcher._fetch_min_bytes > 2 * least)
        worker.passing.set()
        await until("no longer than is set", lambda: fetcher._fetch_max_wait_ms <= settings.fetch_wait_ms)


@on_a_loop
async def test_nothing_is_lost_when_a_second_worker_joins_a_group_without_commits(settings: ScorerSettings) -> None:
    await make_topic(settings)
    for partition in range(PARTITIONS):
        await send(settings, 300, partition)
    async with running(settings) as first:
        first.waits_for_me = True  # so that there is nothing to commit
        await until("batches", lambda: len(first.batches) >= 2)
        async with running(settings) as second:
            await until("rebalance", lambda: first.app.rebalancing)
            # The first worker's batches are given up, as one that fails would; nothing of them is committed.
            for batch in first.open:
                first.app.consumer.drop(batch)
            first.open.clear()
            first.batches.clear()
            first.waits_for_me = False
            await until("both own one", lambda: len(first.assigned) > 1 and bool(second.assigned))
            await until("all", lambda: len({*first.offsets, *second.offsets}) == 600)
            assert {len(first.assigned[-1]), len(second.assigned[-1])} == {1}


@on_a_loop
async def test_a_revocation_waits_for_the_batch_under_way_and_commits_it(settings: ScorerSettings) -> None:
    await make_topic(settings)
    for partition in range(PARTITIONS):
        await send(settings, 50, partition)
    async with running(settings) as first:
        first.waits_for_me = True
        await until("batches", lambda: {batch.partition for batch in first.batches} == {0, 1})
        taken = dict.fromkeys((0, 1), 0) | {batch.partition: batch.next for batch in first.batches}
        async with running(settings) as second:
            await until("rebalance", lambda: first.app.rebalancing)
            await asyncio.sleep(0.3)
            assert not first.revoked, "revoked while a batch was under way"
            assert not second.batches, "another worker has them while they are worked on"
            first.waits_for_me = False
            first.finish_all()
            await until("revoked", lambda: bool(first.revoked))
            await until("both own one", lambda: len(first.assigned) > 1 and bool(second.assigned))
            starts = {o.partition: o.committed for owned in (first, second) for o in owned.assigned[-1]}
            assert starts == taken, "what was finished is committed before the partitions move"
            await until("all", lambda: len([*first.offsets, *second.offsets]) >= 100)
            assert sorted([*first.offsets, *second.offsets]) == [(p, o) for p in (0, 1) for o in range(50)]


@on_a_loop
async def test_loading_for_longer_than_the_session_keeps_the_membership(settings: ScorerSettings) -> None:
    await make_topic(settings)
    await send(settings, 10)
    async with running(settings) as worker:
        worker.loading.clear()
        await until("assignment", lambda: bool(worker.assigned))
        await asyncio.sleep(2 * settings.session_seconds)
        assert len(worker.assigned) == 1, "the group took the worker for dead while it loaded"
        assert not worker.batches, "a batch came before its partition was loaded"
        worker.loading.set()
        await until("batches", lambda: len(worker.offsets) == 10)
        assert len(worker.assigned) == 1


@on_a_loop
async def test_a_worker_that_is_overtaken_while_it_takes_over_goes_on_with_the_next_assignment(
    settings: ScorerSettings,
) -> None:
    settings = settings.model_copy(update={"session_seconds": 6.0})  # more than the second needs to leave
    await make_topic(settings)
    await send(settings, 100)
    async with running(settings) as first:
        await until("a batch", lambda: first.batches)
        first.is_overtaken = True
        async with running(settings) as second:
            await until("the second is there", lambda: second.assigned)
            await until("the first was overtaken", lambda: not first.is_overtaken)
            assert first.app.failure is None
        await until("it has all partitions again", lambda: first.app.is_assigned.is_set())
        await send(settings, 10)
        await until("new records", lambda: len(first.offsets) >= 110)
        assert first.app.failure is None


@on_a_loop
async def test_a_member_that_is_overtaken_and_sees_no_rebalance_stops(settings: ScorerSettings) -> None:
    """Not before a session is over, however long it takes: only the group's word counts."""
    await make_topic(settings)
    async with running(settings) as first:
        await until("assigned", lambda: first.app.is_assigned.is_set())
        since = time.monotonic()
        first.app.consumer.last_heartbeat = since  # as if one had just been sent
        generation = first.app.consumer_generation_id
        assert not await first.app.rebalanced(generation)
        assert time.monotonic() - since > settings.session_seconds
        assert await asyncio.wait_for(first.app.rebalanced(generation - 1), 0.1), "another one has begun since"
        first.loading.clear()
        first.is_overtaken = True
        async with running(settings):
            await until("a new assignment", lambda: len(first.assigned) == 2)
            first.loading.set()
            await until("it stopped", lambda: first.app.failure)
    assert isinstance(first.app.failure, SupersededError)


@on_a_loop
async def test_a_rewound_partition_is_read_again_from_there(settings: ScorerSettings) -> None:
    async with delivered(settings, 100) as worker:
        worker.app.consumer.rewind(TP(TOPIC, 0), 40)
        await until("again", lambda: len(worker.offsets) == 160, 2)
        assert worker.offsets[100:] == [(0, offset) for offset in range(40, 100)]
        assert worker.batches[-1].expected >= 40


@on_a_loop
async def test_a_partition_is_rewound_while_its_batches_wait_for_room(settings: ScorerSettings) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        worker.passing.clear()
        for _ in range(8):
            await send(settings, 100)
        tp = TP(TOPIC, 0)
        await until("a full buffer", lambda: worker.app.consumer._expected.get(tp, 0) >= 400)
        await asyncio.sleep(0.5)  # the fetcher waits for room now, with a batch in its hands
        turn = worker.app.consumer.rewind(tp, 0)
        worker.passing.set()
        await until(
            "again", lambda: len({o for b in worker.batches if b.turn == turn for o in range(b.offset, b.next)}) == 800
        )
        again = [batch for batch in worker.batches if batch.turn == turn]
        assert [batch.expected for batch in again] == [0, *(batch.next for batch in again[:-1])]


@on_a_loop
async def test_a_partition_is_read_from_where_the_handler_says_not_from_the_commit(settings: ScorerSettings) -> None:
    async with delivered(settings, 100) as worker:
        await asyncio.sleep(0.5)
    assert await committed(settings) == 100
    async with running(settings) as worker:
        worker.from_oldest = True
        await until("batches", lambda: len(worker.offsets) == 100)
        assert worker.offsets == [(0, offset) for offset in range(100)]


@on_a_loop
async def test_what_the_broker_refuses_to_commit_is_committed_later(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[TP, int]] = []
    commit = ConsumerThread.commit

    async def refused_once(self: ConsumerThread, offsets: dict[TP, int]) -> bool:
        asked.append(dict(offsets))
        return len(asked) > 1 and await commit(self, offsets)

    monkeypatch.setattr(ConsumerThread, "commit", refused_once)
    async with delivered(settings, 100):
        await until("two commits", lambda: len(asked) > 1)
        await asyncio.sleep(0.5)
        assert await committed(settings) == 100
    assert asked == [{TP(TOPIC, 0): 100}] * 2, "and once is enough"


@on_a_loop
async def test_what_is_owned_is_made_once_for_each_assignment(settings: ScorerSettings) -> None:
    """Faust asks for each partition that it commits, and would make it anew: 512 of them took a tenth of a second."""
    await make_topic(settings)
    both = {TP(TOPIC, 0), TP(TOPIC, 1)}
    async with running(settings) as first:
        await until("assignment", first.app.is_assigned.is_set)
        assert first.app.consumer.assignment() == both
        assert first.app.consumer.assignment() is first.app.consumer.assignment()
        async with running(settings) as second:
            await until("assignment", second.app.is_assigned.is_set)
            await until("one each", lambda: all(len(one.app.consumer.assignment()) == 1 for one in (first, second)))
            assert first.app.consumer.assignment() | second.app.consumer.assignment() == both
        await until("both again", lambda: first.app.consumer.assignment() == both)


@on_a_loop
async def test_a_failing_batch_stops_the_worker_and_is_not_committed(settings: ScorerSettings) -> None:
    await make_topic(settings)
    await send(settings, 10)
    recorder = Recorder(settings)

    async def broken(batches: Sequence[Batch]) -> None:
        raise ValueError("no")

    recorder.accept = broken  # type: ignore[method-assign]
    logging.getLogger("faust").setLevel(logging.CRITICAL)
    await recorder.app.start()
    await until("failure", lambda: recorder.app.failure is not None)
    assert isinstance(recorder.app.failure, ValueError)
    await recorder.app.stop()
    assert not await committed(settings)


@on_a_loop
async def test_a_worker_that_fails_with_something_to_commit_stops(settings: ScorerSettings) -> None:
    """Faust's queue of calls to the consumer's thread is not served any more then, and it would wait for ever."""
    settings = settings.model_copy(update={"commit_seconds": 600.0})
    await make_topic(settings)
    await send(settings, 100)
    recorder = Recorder(settings)
    logging.getLogger("faust").setLevel(logging.CRITICAL)
    await recorder.app.start()
    await until("a batch that is finished and not committed", lambda: recorder.app.consumer.done)
    await recorder.app.fail(ValueError("broken"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await recorder.app.stop()


@on_a_loop
async def test_a_call_that_the_ending_thread_cancels_says_that_it_stopped(settings: ScorerSettings) -> None:
    """Else the worker's own stop would be taken for cancelled, and half of it left undone."""

    async def ended() -> None:
        raise asyncio.CancelledError

    await make_topic(settings)
    async with running(settings) as worker:
        await until("assignment", worker.app.is_assigned.is_set)
        with pytest.raises(ConsumerStoppedError):
            await thread_of(worker.app.consumer).call_thread(ended)


@on_a_loop
async def test_a_partition_that_was_just_taken_away_may_be_asked_for_and_rewound(settings: ScorerSettings) -> None:
    async with delivered(settings, 100) as worker:
        consumer = worker.app.consumer
        assert (consumer.highwater(TP(TOPIC, 0)), consumer.waiting(TP(TOPIC, 0), 40)) == (100, 60)
        gone = TP(TOPIC, PARTITIONS)
        assert (consumer.highwater(gone), consumer.waiting(gone, 40)) == (None, 0)
        consumer.rewind(gone, 7)
        consumer.rewind(TP(TOPIC, 0), 90)
        await until("the other one goes on", lambda: len(worker.offsets) == 110)


@on_a_loop
async def test_an_outage_that_lasts_longer_than_a_request_is_waited_for(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assignment", worker.app.is_assigned.is_set)
        ask, outages = driver.AIOKafkaConsumerThread.earliest_offsets, iter(range(2))

        async def asked(self: Any, *partitions: Any) -> Any:
            if next(outages, None) is not None:
                raise KafkaTimeoutError("Failed to get offsets by times in 40000 ms")
            return await ask(self, *partitions)

        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "earliest_offsets", asked)
        tp = TopicPartition(TOPIC, 0)
        assert await worker.app.consumer.earliest_offsets(tp) == {tp: 0}
        assert next(outages, None) is None


@on_a_loop
async def test_heartbeats_are_seen(settings: ScorerSettings) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assignment", worker.app.is_assigned.is_set)
        before = worker.app.consumer.last_heartbeat
        await until("heartbeat", lambda: worker.app.consumer.last_heartbeat > before + 0.3)
        assert await worker.app.surely_ours()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Consumer, "_filter_tps_with_pending_acks"),
        (Consumer, "_new_offset"),
        (Consumer, "_add_gap"),
        (Consumer, "_wait_next_records"),
        (Consumer, "on_buffer_full"),
        (Consumer, "on_buffer_drop"),
        (Consumer, "_drain_messages"),
        (Consumer, "perform_seek"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer"),
        (driver.AIOKafkaConsumerThread, "getmany"),
    ],
)
def test_what_is_overridden_is_still_there_with_the_same_parameters(owner: type, name: str) -> None:
    ours = next((vars(kind)[name] for kind in (BatchConsumer, ConsumerThread) if name in vars(kind)), None)
    theirs = getattr(owner, name)
    if ours is not None:
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_a_static_member_falls_silent_only_for_its_name() -> None:
    source = inspect.getsource(GroupCoordinator._maybe_leave_group)
    assert "self._group_instance_id is None" in source


def test_faust_commits_what_we_name() -> None:
    source = inspect.getsource(Consumer)
    for used in (
        "self._filter_tps_with_pending_acks(",
        "self._new_offset(",
        "self._waiting_for_ack",
        "_unacked_messages",
    ):
        assert used in source
