"""Whole record batches through Faust, acknowledged as one range a partition.

Faust hands records to an agent one by one, at a task and a thread hop each: 160 us an event before any work. Here the
consumer wraps all that a fetch brought into one message, a batch for each partition, and Faust does the rest as ever:
membership, rebalancing, flow control, commits, lifecycle. How a range is acknowledged:

1. `getmany` yields one `Fetch` of a `Batch` a partition and notes their ends; records below a partition's own next
   offset (they were seen already, around a rebalance) are dropped. While a fetch waits for the agent, what comes after
   it is added to it: so a busy worker gets larger batches, and no queue of small ones.
2. The handler works on it. The message counts as unacknowledged from the moment the agent takes it until its last batch
   is finished or dropped, so a revocation waits for it (`wait_empty`), while fetches that are only queued are dropped
   and read again by the next owners.
3. `finish` notes the end of a batch's range as the offset to commit. Nothing is noted for a batch that failed: the
   worker stops, and its partitions are read again from the last commit.

`tests/integration/test_faust_hooks.py` pins what this relies on inside Faust.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiokafka
import faust
from aiokafka import TopicPartition
from faust.sensors.monitor import Monitor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import notify

from scorer.fetch import Batch, Fetch
from scorer.pace import Pace
from scorer.settings import CommonSettings


@dataclass(frozen=True, slots=True)
class Owned:
    """A partition that this worker owns from now on.

    kept: it was this worker's in the generation before too, without another owner. oldest: the first offset that
    retention left. committed: that of the group, None where there is none.
    """

    partition: int
    kept: bool
    oldest: int
    committed: int | None


class Handler(Protocol):
    """What a worker does with its partitions."""

    async def start(self) -> None:
        """Get ready before the group is joined."""

    async def drain(self) -> None:
        """The worker is stopping: take no more batches, finish the accepted ones."""

    async def close(self) -> None:
        """Nothing comes any more: let everything go."""

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        """Get ready for all partitions of this worker; returns the offset to read each from.

        May take as long as it needs: the group does not wait for it.
        """

    async def accept(self, batches: Sequence[Batch]) -> None:
        """Work on what a fetch brought, at most one batch a partition, telling the consumer when every effect of a
        batch is acknowledged (`finish`) or that it has none (`drop`). Returning earlier lets the next fetch come in
        meanwhile. An exception stops the worker."""

    async def revoke(self, partitions: frozenset[int]) -> None:
        """Partitions were taken away; every accepted batch has been finished."""


class RecordMonitor(Monitor):  # type: ignore[misc]
    """Faust's monitor, counting records where it would count batches."""

    def on_message_in(self, tp: TP, offset: int, message: Any) -> None:
        super().on_message_in(tp, offset, message)
        if isinstance(message, Fetch):
            more = len(message) - 1
            self.messages_received_total += more
            self.messages_received_by_topic[tp.topic] += more
            for batch in message.batches.values():
                self.tp_read_offsets[batch.tp] = batch.next - 1


def _as_parsed(tp: TopicPartition, record: Any) -> Any:
    return record


def _size(record: Any) -> int:
    """Bytes of a record, about: key, value and a few of its own."""
    return len(record.key or b"") + len(record.value or b"") + 10


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pace = Pace()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes 1,500 ms, and a broker may look only every half of it: 384 ms of idle latency.
        consumer._fetch_max_wait_ms = self.app.settings.fetch_wait_ms
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def noted() -> bool:
            asked = time.monotonic()
            good = bool(await beat())
            if good:
                self.consumer.last_heartbeat = asked
            return good

        coordinator._do_heartbeat = noted
        leave = coordinator._maybe_leave_group

        async def left() -> None:
            # aiokafka has a static member only fall silent, and nobody takes over until its session is over. Being
            # known again is for who comes back from a crash; who is told to go says so.
            name, coordinator._group_instance_id = coordinator._group_instance_id, None
            try:
                await leave()
            finally:
                coordinator._group_instance_id = name

        coordinator._maybe_leave_group = left

    async def _fetch_records(self, consumer: aiokafka.AIOKafkaConsumer, *args: Any, **options: Any) -> Any:
        # A record as it was parsed has all that a batch asks for; a ConsumerRecord of it costs 0.7 us more.
        for result in consumer._fetcher._records.values():
            unread = getattr(result, "_partition_records", None)  # none in a FetchError
            if unread is not None:
                unread._consumer_record = _as_parsed
        came = await super()._fetch_records(consumer, *args, **options)
        if came:
            size = sum(len(records) * _size(records[-1]) for records in came.values())
            consumer._fetcher._fetch_min_bytes = self._pace.came(size, time.monotonic())
        return came

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """Committed offset of each partition, None where there is none."""
        consumer = self._ensure_consumer()
        return {tp: await self.call_thread(consumer.committed, TopicPartition(*tp)) for tp in tps}


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, delivering each fetch whole and committing ranges."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.starts: dict[TP, int] = {}  # where each owned partition is to be read from after a rebalance
        self.done: dict[TP, int] = {}  # offset after the last finished batch
        self._expected: dict[TP, int] = {}  # offset after the last delivered record
        self._rewinds: dict[TP, int] = {}  # where partitions are to be put back to before the next fetch
        self._waiting: Fetch | None = None  # delivered last, and not taken by the agent yet
        self.turns: Counter[TP] = Counter()  # how often each partition was put back
        self.last_heartbeat = time.monotonic()  # when the last good heartbeat was asked for

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Fetch]]:  # noqa: ASYNC109
        for tp, offset in self._rewinds.items():
            self._thread.seek(TopicPartition(*tp), offset)
        self._rewinds.clear()
        fetched, active = await self._wait_next_records(timeout)
        if fetched is None or self.should_stop or not self.flow_active:
            # What was fetched while the flow was off is dropped; `perform_seek` at the end of the rebalance puts every
            # partition back to its own next offset. (Faust itself seeks to the commit, and loses records without one.)
            return
        fresh: dict[TP, tuple[list[Any], int]] = {}
        for fetched_tp, records in fetched.items():
            tp = TP(*fetched_tp)
            if active is not None and tp not in active:
                continue
            expected = self._expected.get(tp)
            if expected is None or tp in self._rewinds:
                continue  # not ours any more, or put back while this fetch was under way
            if records and records[0].offset < expected:
                records = [record for record in records if record.offset >= expected]
            if not records:
                continue
            self._expected[tp] = records[-1].offset + 1
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            fresh[tp] = records, expected
        if not fresh:
            return
        fetch, is_new = self._waiting, False
        if fetch is None or not fetch.has_room_for(fresh, self.app.settings.batch_records):
            tp = next(iter(fresh))
            fetch, is_new = self._fetch(tp, fresh[tp][0][0]), True
        for tp, (records, expected) in fresh.items():
            fetch.add(tp, records, expected, self.turns[tp])
        if is_new:
            self._waiting = fetch
            # Faust passes over what is below the last offset that it delivered. It notes that when the delivery is
            # through: after a rewind that came meanwhile, nothing would ever come again.
            self._read_offset[fetch.tp] = None
            yield fetch.tp, fetch

    def take(self, fetch: Fetch) -> list[Batch]:
        """The agent begins with a fetch: nothing is added to it any more."""
        if self._waiting is fetch:
            self._waiting = None
        fetch.open = set(fetch.batches.values())
        return list(fetch.batches.values())

    def _fetch(self, tp: TP, first: Any) -> Fetch:
        """An empty fetch, which Faust takes for a message of its first partition."""
        fetch = Fetch(
            topic=tp.topic,
            partition=tp.partition,
            offset=first.offset,
            timestamp=(first.timestamp or 0) / 1000.0,
            timestamp_type=first.timestamp_type,
            headers=None,
            key=None,
            value=b"",
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        fetch.batches = {}
        return fetch

    def finish(self, batch: Batch) -> None:
        """Every effect of a batch is acknowledged: its range may be committed."""
        if batch in batch.fetch.open:
            self.done[batch.tp] = batch.next
            self.drop(batch)

    def drop(self, batch: Batch) -> None:
        """Give up a batch without an effect: its partition is no longer ours, and its next owner reads it again."""
        fetch = batch.fetch
        fetch.open.discard(batch)
        if not fetch.open:
            fetch.batches.clear()  # they know it and it knows them: the records would stay until a collection
            fetch.acked = True
            self._unacked_messages.discard(fetch)
            notify(self._waiting_for_ack)

    def rewind(self, tp: TP, offset: int) -> int:
        """Read a partition again from an offset; returns its new turn. Batches that are on their way already still
        come, and are the handler's to drop: they are of an earlier turn."""
        self.turns[tp] += 1
        self._waiting = None  # nothing of this turn is added to what was read in the last one
        self.done.pop(tp, None)
        self.starts[tp] = self._expected[tp] = self._rewinds[tp] = offset
        self._read_offset[tp] = None
        self._thread.seek(TopicPartition(*tp), offset)  # only wakes a fetch that waits; what it brings is dropped
        return self.turns[tp]

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ranges have no gaps: Faust would take a batch's tail for one, and commit it before it is processed."""

    def on_buffer_full(self, tp: TP) -> None:
        """A full buffer holds the fetcher back by itself; Faust would sleep for a second with no partition active."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See `on_buffer_full`."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.done) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.done.get(tp)

    async def perform_seek(self) -> None:
        """Put every partition to its own next offset. Faust calls this before the flow resumes; must be quick."""
        self._waiting = None  # Faust has thrown away what was queued
        for tp in self.assignment():
            position = max(self.done.get(tp, 0), self.starts.get(tp, 0))
            if tp in self.starts:
                self._expected[tp] = position
                self._thread.seek(TopicPartition(*tp), position)
                self._read_offset[tp] = None
                self._committed_offset[tp] = None

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # waits for accepted batches and commits them
        for positions in (self.starts, self.done, self._expected, self._rewinds):
            for tp in revoked:
                positions.pop(tp, None)


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


class BatchApp(faust.App):  # type: ignore[misc]
    """A Faust app whose one agent gets whole fetches of one topic and gives them to a handler."""

    def __init__(self, settings: CommonSettings, group: str, topic: str, handler: Handler) -> None:
        self.settings = settings
        self.handler = handler
        self.hot_topic = topic
        self._owned: frozenset[int] = frozenset()
        self._owned_in: int | None = None
        self.failure: BaseException | None = None
        self.is_assigned = asyncio.Event()
        super().__init__(
            group,
            broker=";".join(f"aiokafka://{address}" for address in settings.kafka),
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            broker_client_id=settings.worker_id,
            consumer_group_instance_id=settings.instance_id,
            broker_session_timeout=settings.session_seconds,
            broker_heartbeat_interval=settings.heartbeat_seconds,
            broker_request_timeout=settings.request_seconds,
            broker_commit_interval=settings.commit_seconds,
            broker_max_poll_records=settings.batch_records,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=2,
            stream_wait_empty=True,
            worker_redirect_stdouts=False,
            Monitor=RecordMonitor,
        )
        self.agent(self.topic(topic, value_type=bytes, value_serializer="raw", key_serializer="raw"))(self._deliver)
        self.on_rebalance_complete.connect(self._assigned, weak=False)
        self.on_partitions_revoked.connect(self._revoked, weak=False)

    async def on_first_start(self) -> None:
        """Faust would make a folder for its tables here; there are none."""

    async def on_start(self) -> None:
        try:
            await self.handler.start()
        except Exception as error:
            self.failure = error  # Faust's worker would stop in good order, and exit 0
            raise
        await super().on_start()

    async def on_stop(self) -> None:
        await self.handler.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        await self.handler.close()

    async def surely_ours(self) -> bool:
        """Whether the group still counts us in, by a heartbeat younger than 70 % of the session; waits for one.

        False once a rebalance began. This narrows the window in which a worker that was stopped past its session, then
        resumed, writes what another already has; only the broker could close it.
        """
        while time.monotonic() - self.consumer.last_heartbeat > 0.7 * self.settings.session_seconds:
            if self.rebalancing or self.should_stop:
                return False
            await asyncio.sleep(self.settings.heartbeat_seconds / 10)
        return True

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def _deliver(self, stream: Any) -> None:
        async for event in stream.noack().events():  # `finish` acknowledges, not the end of this loop's body
            try:
                await self.handler.accept(self.consumer.take(event.message))
            except Exception as error:
                await self.fail(error)
                raise

    async def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error; what was not finished is read again by the next owner."""
        if self.failure is None:
            self.failure = error
        await self.crash(error)

    async def _revoked(self, sender: Any, revoked: set[TP], **_: Any) -> None:
        self.is_assigned.clear()
        await self.handler.revoke(frozenset(tp.partition for tp in revoked if tp.topic == self.hot_topic))

    async def _assigned(self, sender: Any, **_: Any) -> None:
        """Load what the new partitions need. Heartbeats go on meanwhile; Faust waits without a time limit."""
        generation = self.consumer_generation_id
        self.consumer.last_heartbeat = time.monotonic()  # joining is as good as a heartbeat
        mine = frozenset(tp.partition for tp in self.consumer.assignment() if tp.topic == self.hot_topic)
        in_a_row = self._owned_in is not None and generation == self._owned_in + 1
        kept = mine & self._owned if in_a_row else frozenset()
        try:
            tps = {partition: TP(self.hot_topic, partition) for partition in sorted(mine)}
            oldest = await self.consumer.earliest_offsets(*(TopicPartition(*tp) for tp in tps.values()))
            committed = await self.consumer._thread.committed(tps.values())
            start = await self.handler.assign(
                [Owned(p, p in kept, oldest[TopicPartition(*tp)], committed[tp]) for p, tp in tps.items()]
            )
            if self.consumer_generation_id != generation:
                return  # another rebalance began; its own call follows
            self.consumer.starts = {tp: start[partition] for partition, tp in tps.items()}
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # it leaked from something else; Faust would wait for ever
                await self.fail(error)
            raise
        except Exception as error:
            await self.fail(error)
            raise
        self._owned, self._owned_in = mine, generation
        self.is_assigned.set()
