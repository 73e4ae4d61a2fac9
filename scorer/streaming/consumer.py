"""Faust's consumer, changed to deliver each fetch whole and to commit ranges; see `scorer.streaming.app`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from aiokafka import TopicPartition
from faust.sensors.monitor import Monitor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from scorer.streaming.faust_internals import acknowledge, forget_commit, next_records, note_commit
from scorer.streaming.fetch import Batch, Fetch, size_of
from scorer.streaming.thread import ConsumerThread

#: How long a fetch may wait for records before the delivering loop checks whether it should stop.
LONGEST_WAIT_SECONDS = 1.0


class RecordMonitor(Monitor):  # type: ignore[misc]
    """Faust's monitor, counting the records of a fetch. Faust would count the fetch as one message."""

    def on_message_in(self, tp: TP, offset: int, message: Any) -> None:
        super().on_message_in(tp, offset, message)
        if isinstance(message, Fetch):
            more = len(message) - 1
            self.messages_received_total += more
            self.messages_received_by_topic[tp.topic] += more
            for batch in message.batches.values():
                self.tp_read_offsets[batch.tp] = batch.next - 1


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Delivers each fetch as one message, and commits a partition's offset once its batch is finished."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.starts: dict[TP, int] = {}  # offset to read each owned partition from after a rebalance
        self.done: dict[TP, int] = {}  # offset after the last finished batch
        self._expected: dict[TP, int] = {}  # offset after the last delivered record
        self._rewinds: dict[TP, int] = {}  # offset to seek to before the next fetch
        self._waiting: Fetch | None = None  # the last delivered fetch, while the agent has not taken it
        self._queued = 0  # fetches delivered, and not taken by the agent yet
        self.turns: Counter[TP] = Counter()  # how often each partition was rewound
        self.last_heartbeat = time.monotonic()  # when the last accepted heartbeat was sent

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Give fetches to the agent until consumer or fetcher stops.

        Replaces Faust's loop, which handles single records: it acknowledges gaps in their offsets and starts several
        tasks for each.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetch = await self._next_fetch()
                if fetch is None:
                    continue
                self._waiting = fetch
                self._queued += 1
                if self._queued == 1 and self.app.flow_control.is_active():
                    await self.callback(fetch)  # does not block: the agent's queue is empty
                else:
                    await self.wait_first(self.callback(fetch), self.suspend_flow.wait())
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.app.should_stop:
                raise

    async def _next_fetch(self) -> Fetch | None:
        """The next fetch to deliver; None if nothing came, or all of it was added to the fetch that waits."""
        for tp, offset in self._rewinds.items():
            self._thread.seek(TopicPartition(*tp), offset)
        self._rewinds.clear()
        fetched, active = await next_records(self, LONGEST_WAIT_SECONDS)
        if fetched is None or self.should_stop or not self.flow_active:
            # Records fetched during a rebalance are dropped. `perform_seek` at its end seeks every partition to its own
            # next offset. (Faust would seek to the last commit, and skip records where there is none.)
            return None
        fresh: dict[TP, tuple[list[Any], int]] = {}
        for fetched_tp, records in fetched.items():
            tp = TP(*fetched_tp)
            if active is not None and tp not in active:
                continue
            expected = self._expected.get(tp)
            if expected is None or tp in self._rewinds:
                continue  # revoked, or rewound during this fetch
            if records and records[0].offset < expected:
                records = [record for record in records if record.offset >= expected]
            if not records:
                continue
            self._expected[tp] = records[-1].offset + 1
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp) or self._expected[tp])
            fresh[tp] = records, expected
        if not fresh:
            return None
        fetch, is_new, size = self._waiting, False, sum(size_of(records) for records, _ in fresh.values())
        if fetch is None or not fetch.has_room_for(fresh, size, self.app.settings.batch_records):
            tp = next(iter(fresh))
            fetch, is_new = self._fetch(tp, fresh[tp][0][0]), True
        for tp, (records, expected) in fresh.items():
            fetch.add(tp, records, expected, self.turns[tp])
        fetch.size += size
        return fetch if is_new else None

    @property
    def finished(self) -> dict[TP, int]:
        """Offset after the last finished record of every partition that is assigned. For any thread."""
        return self.starts.copy() | self.done.copy()

    def waiting(self, tp: TP, done: int) -> int:
        """Offsets of a partition from `done` to its end; 0 if only markers of transactions follow, which nobody gets.

        done: the offset after the last record that was taken. Records of an open transaction count. For any thread.
        """
        unread: int | None = self._thread.unread(tp)
        if unread is not None and done >= self._expected.get(tp, done):
            return unread
        return max(0, (self.highwater(tp) or done) - done)

    @property
    def progress(self) -> Any:
        """What differs from the last answer if a record was delivered or finished, or a partition rewound. For any
        thread."""
        return self._expected.copy(), self.done.copy(), dict(self.turns)

    @property
    def is_behind(self) -> bool:
        """Whether the agent has not taken the last delivered fetch yet."""
        return self._waiting is not None

    def take(self, fetch: Fetch) -> list[Batch]:
        """Start work on a fetch; returns its batches. From now on no records are added to it."""
        self._queued -= 1
        if self._waiting is fetch:
            self._waiting = None
        fetch.open = set(fetch.batches.values())
        return list(fetch.batches.values())

    def _fetch(self, tp: TP, first: Any) -> Fetch:
        """An empty fetch. Faust sees a message of partition `tp` with the offset and time of the record `first`."""
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
        fetch.batches, fetch.size = {}, 0
        return fetch

    def finish(self, batch: Batch) -> None:
        """Allow a batch's range to be committed, because every effect of it is acknowledged."""
        if batch in batch.fetch.open:
            self.done[batch.tp] = batch.next
            self.drop(batch)

    def drop(self, batch: Batch) -> None:
        """Give up a batch without committing it. It is read again, by the partition's next owner or after a rewind."""
        fetch = batch.fetch
        fetch.open.discard(batch)
        if not fetch.open:
            fetch.batches.clear()  # breaks a reference cycle that would keep the records until a garbage collection
            acknowledge(self, fetch)

    def rewind(self, tp: TP, offset: int) -> int:
        """Read a partition again from an offset; returns its new turn.

        Batches of earlier turns that are already queued still arrive; the handler must drop them.
        """
        self.turns[tp] += 1
        self._waiting = None  # a fetch never mixes two turns
        self.done.pop(tp, None)
        self.starts[tp] = self._expected[tp] = self._rewinds[tp] = offset
        self._thread.seek(TopicPartition(*tp), offset)  # only to wake a waiting fetch, whose records are dropped
        return self.turns[tp]

    async def first_since(self, tp: TP, moment_ms: int, oldest: int) -> int:
        """See `ConsumerThread.first_since`."""
        return int(await self._thread.first_since(tp, moment_ms, oldest))

    def adopt(self, tp: TP, offset: int) -> None:
        """Begin to read a partition that is assigned and was left out so far."""
        self.rewind(tp, offset)
        self.resume_partitions([tp])

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Does nothing. Faust would take the rest of a batch for a gap and commit it unprocessed."""

    def on_buffer_full(self, tp: TP) -> None:
        """Does nothing: delivery waits for room by itself. Faust would pause the partition and sleep for a second."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Does nothing, as `on_buffer_full`."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.done) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.done.get(tp)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Commit offsets of partitions that are still owned; returns whether that was done.

        Faust would draw a table of them for a log that nobody keeps, in which time nothing else is done, and call them
        committed although the broker refused.
        """
        owned = self.assignment()
        ours = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not (ours and await self._commit(ours)):
            return False
        note_commit(self, ours)
        self.app.monitor.on_tp_commit(ours)
        return True

    async def perform_seek(self) -> None:
        """Seek every partition to its own next offset. Faust calls this before the flow resumes; must be quick."""
        self._waiting, self._queued = None, 0  # Faust has emptied the agent's queue
        for tp in self.assignment():
            position = max(self.done.get(tp, 0), self.starts.get(tp, 0))
            if tp in self.starts:
                self._expected[tp] = position
                self._thread.seek(TopicPartition(*tp), position)
                forget_commit(self, tp)
            else:
                self.pause_partitions([tp])  # until `adopt`

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # waits for accepted batches, then commits
        for positions in (self.starts, self.done, self._expected, self._rewinds):
            for tp in revoked:
                positions.pop(tp, None)


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with `BatchConsumer`."""

    Consumer = BatchConsumer
