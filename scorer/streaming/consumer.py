"""Faust's consumer, delivering each fetch whole and committing ranges; see `scorer.batches`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiokafka import TopicPartition
from faust.sensors.monitor import Monitor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import notify

from scorer.consumer_thread import ConsumerThread
from scorer.fetch import Batch, Fetch

#: How long the thread waits for records before the loop looks whether it is to stop.
LONGEST_WAIT_SECONDS = 1.0


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


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, delivering each fetch whole and committing ranges."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.starts: dict[TP, int] = {}  # where each owned partition is to be read from after a rebalance
        self.done: dict[TP, int] = {}  # offset after the last finished batch
        self._expected: dict[TP, int] = {}  # offset after the last delivered record
        self._rewinds: dict[TP, int] = {}  # where partitions are to be put back to before the next fetch
        self._waiting: Fetch | None = None  # delivered last, and what comes may still be added to it
        self._queued = 0  # delivered, and not taken by the agent yet
        self.turns: Counter[TP] = Counter()  # how often each partition was put back
        self.last_heartbeat = time.monotonic()  # when the last good heartbeat was asked for

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Give what was fetched to the agent, until consumer or fetcher stops.

        Faust's loop fills gaps and passes over offsets, which fetches do not have, and takes six tasks a message.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetch = await self._next_fetch()
                if fetch is None:
                    continue
                self._waiting = fetch
                self._queued += 1
                if self._queued == 1 and self.app.flow_control.is_active():
                    await self.callback(fetch)  # the agent's queue is empty: there is nothing to wait for
                else:
                    await self.wait_first(self.callback(fetch), self.suspend_flow.wait())
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.app.should_stop:
                raise

    async def _next_fetch(self) -> Fetch | None:
        """What came next; None if it was added to what waits for its turn, or if nothing came for a while."""
        for tp, offset in self._rewinds.items():
            self._thread.seek(TopicPartition(*tp), offset)
        self._rewinds.clear()
        fetched, active = await self._wait_next_records(LONGEST_WAIT_SECONDS)
        if fetched is None or self.should_stop or not self.flow_active:
            # What was fetched while the flow was off is dropped; `perform_seek` at the end of the rebalance puts every
            # partition back to its own next offset. (Faust itself seeks to the commit, and loses records without one.)
            return None
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
            return None
        fetch, is_new = self._waiting, False
        if fetch is None or not fetch.has_room_for(fresh, self.app.settings.batch_records):
            tp = next(iter(fresh))
            fetch, is_new = self._fetch(tp, fresh[tp][0][0]), True
        for tp, (records, expected) in fresh.items():
            fetch.add(tp, records, expected, self.turns[tp])
        return fetch if is_new else None

    @property
    def is_behind(self) -> bool:
        """Whether what was delivered last waits for its turn still."""
        return self._waiting is not None

    def take(self, fetch: Fetch) -> list[Batch]:
        """The agent begins with a fetch: nothing is added to it any more."""
        self._queued -= 1
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
        self._waiting, self._queued = None, 0  # Faust has thrown away what was queued
        for tp in self.assignment():
            position = max(self.done.get(tp, 0), self.starts.get(tp, 0))
            if tp in self.starts:
                self._expected[tp] = position
                self._thread.seek(TopicPartition(*tp), position)
                self._committed_offset[tp] = None

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # waits for accepted batches and commits them
        for positions in (self.starts, self.done, self._expected, self._rewinds):
            for tp in revoked:
                positions.pop(tp, None)


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer
