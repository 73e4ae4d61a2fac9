"""A Faust app that delivers whole batches of records and acknowledges each as one range of offsets.

Faust hands records to an agent one by one, each through a task and from thread to thread, which costs far more than
deciding a transaction. Here the consumer wraps everything that a fetch brought into one message, with a batch for each
partition. Faust still does membership, rebalancing, flow control, commits and lifecycle. How a range is acknowledged:

1. The consumer delivers one `Fetch` with a `Batch` for each partition and notes where each ends. It drops records
   below a partition's own next offset, which were seen before a rebalance. While a fetch waits for the agent, the
   records of later fetches are added to it, so a busy worker gets few large batches instead of many small ones.
2. The handler works on it. The message counts as unacknowledged from when the agent takes it until its last batch is
   finished or dropped. A revocation waits for it (`wait_empty`). Fetches that are only queued are dropped, and the
   partitions' next owners read them again.
3. `finish` notes the end of a batch's range as the offset to commit. For a batch that failed nothing is noted: the
   worker stops, and its partitions are read again from the last commit.

`tests/integration/test_faust_hooks.py` pins what this relies on inside Faust.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import faust
from aiokafka import TopicPartition
from faust.types import TP

from scorer.settings import CommonSettings
from scorer.streaming.consumer import RecordMonitor, Transport
from scorer.streaming.credentials import credentials
from scorer.streaming.faust_internals import thread_of
from scorer.streaming.fetch import Batch
from scorer.streaming.watchdog import Watchdog

#: aiokafka does not join a group again after such a time without a fetch. Nothing is fetched during a rebalance, so a
#: broker that is away for longer in one would never see this worker again. The watchdog does what this is meant for.
NEVER_SECONDS = 1e6
#: How long it takes until a partition that was added to the topic is found.
METADATA_SECONDS = 30.0


class SupersededError(Exception):
    """Another worker has taken over partitions that the group gave to this one: a rebalance must follow."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A partition that this worker owns from now on.

    kept: whether this worker owned it in the previous generation, with no other owner in between. oldest: first offset
    that is still retained. committed: the group's committed offset, None if there is none.
    """

    partition: int
    kept: bool
    oldest: int
    committed: int | None


class Handler(Protocol):
    """What a worker does with its partitions. An exception from `start`, `assign` or `accept` stops the worker."""

    async def start(self) -> None:
        """Prepare, before the worker joins its group."""

    async def drain(self) -> None:
        """The worker is stopping: take no more batches, and finish the accepted ones."""

    async def close(self) -> None:
        """Release everything. Nothing is called after this."""

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        """Prepare all partitions that this worker owns now; returns the offset to read each from.

        Those that it leaves out are not read until `BatchApp.adopt`. May take as long as it needs: heartbeats go on
        meanwhile. May raise SupersededError, which stops the worker only if the group goes on counting it as a member.
        """

    async def accept(self, batches: Sequence[Batch]) -> None:
        """Work on the batches of a fetch, at most one for each partition.

        For each batch, call the consumer's `finish` once all its effects are acknowledged, or `drop` to give it up.
        This may happen after the call returns; the next fetch is delivered as soon as it does.
        """

    async def revoke(self, partitions: frozenset[int]) -> None:
        """Partitions were taken away. Every accepted batch of theirs has been finished or dropped."""

    @property
    def patient_until(self) -> float:
        """Monotonic time until which no watchdog should end this worker: what it waits for ends by itself by then.
        Read from another thread."""

    def signs(self) -> Any:
        """What differs from the last answer if the worker got anything done beside finishing batches, or if something
        that it needs, and Kafka is not, is away. Called from another thread."""


class BatchApp(faust.App):  # type: ignore[misc]
    """A Faust app with one agent, which gives whole fetches of one topic to a handler.

    failure: the error that stopped the worker, None while there is none. Raises SettingsError for broker settings that
    contradict each other.
    """

    def __init__(self, settings: CommonSettings, group: str, topic: str, handler: Handler) -> None:
        self.settings = settings
        self.handler = handler
        self.hot_topic = topic
        self._owned: frozenset[int] = frozenset()
        self._owned_in: int | None = None
        self.failure: BaseException | None = None
        self.is_assigned = asyncio.Event()
        self.group = group
        self.watchdog = Watchdog(self, settings.longest_stall_seconds) if settings.stall_seconds else None
        super().__init__(
            group,
            broker=";".join(f"aiokafka://{address}" for address in settings.kafka),
            broker_credentials=credentials(settings),
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
            broker_max_poll_interval=NEVER_SECONDS,
            consumer_metadata_max_age_ms=int(METADATA_SECONDS * 1000),
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
        """Does nothing. Faust would create a folder for tables, and there are none."""

    async def on_start(self) -> None:
        try:
            await self.handler.start()
        except Exception as error:
            self.failure = error  # otherwise Faust's worker would exit with 0
            raise
        await super().on_start()
        if self.watchdog is not None and self.consumer is not None:  # made here, not by the watchdog's thread
            self.watchdog.start()

    async def on_stop(self) -> None:
        await self.handler.drain()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        await self.handler.close()
        if self.watchdog is not None:
            self.watchdog.stop()

    # What the watchdog asks, from its own thread; see `scorer.streaming.watchdog.Watched`.

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        return [self.loop, thread_of(self.consumer).thread_loop]

    @property
    def is_rebalancing(self) -> bool:
        return bool(self.rebalancing)

    @property
    def finished(self) -> dict[int, int]:
        return {tp.partition: offset for tp, offset in self.consumer.finished.items()}

    @property
    def patient_until(self) -> float:
        return math.inf if self.should_stop or self._waits_for_group else self.handler.patient_until

    @property
    def _waits_for_group(self) -> bool:
        return bool(self.rebalancing) and thread_of(self.consumer).joins.open > 0

    def signs(self) -> Any:
        asked = thread_of(self.consumer).joins.answered if self.rebalancing else 0
        return self.consumer.progress, asked, self.handler.signs()

    def end(self, error: BaseException) -> None:
        """`fail`, called from another thread."""
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self.fail(error), name="end"))

    async def surely_ours(self) -> bool:
        """Whether the group still counts this worker as a member.

        True if the last accepted heartbeat is younger than 70 % of the session; waits for one if it is older. False
        once a rebalance has begun or the worker stops. Narrows the window in which a worker that stood still for longer
        than its session writes to partitions of another. Only the broker can close it (`scorer.kafka.fence`).
        """
        while time.monotonic() - self.consumer.last_heartbeat > 0.7 * self.settings.session_seconds:
            if self.rebalancing or self.should_stop:
                return False
            await asyncio.sleep(self.settings.heartbeat_seconds / 10)
        return True

    async def rebalanced(self, generation: int) -> bool:
        """Wait for the rebalance that must follow once another worker has taken over partitions of this one.

        generation: in which this worker owned them; a later one has begun if news of the other came late. Returns once
        the rebalance is through, or the worker stops. A worker that stood still, or has little of the machine, may
        take more than a session to learn that it is out of its group. So what counts is not time: False, if the group
        has accepted a heartbeat that was sent a session later, and nothing has begun. Then the group counts this worker
        as the owner of what another one writes, and no rebalance will come.
        """
        since, count = time.monotonic(), self.rebalancing_count
        while self.consumer_generation_id == generation and not self.should_stop:
            is_member = self.consumer.last_heartbeat > since + self.settings.session_seconds
            if is_member and self.rebalancing_count == count:
                return False
            await asyncio.sleep(self.settings.heartbeat_seconds / 10)
        return True

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def _deliver(self, stream: Any) -> None:
        try:
            async for event in stream.noack().events():  # `finish` acknowledges, not the end of this loop's body
                await self.handler.accept(self.consumer.take(event.message))
        except Exception as error:
            await self.fail(error)
            raise

    async def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error. Batches that are not finished are read again by the next owner."""
        if self.failure is None:
            self.failure = error
        await self.crash(error)

    async def _revoked(self, sender: Any, revoked: set[TP], **_: Any) -> None:
        self.is_assigned.clear()
        await self.handler.revoke(frozenset(tp.partition for tp in revoked if tp.topic == self.hot_topic))

    async def owned(self, partitions: Collection[int], kept: Collection[int] = ()) -> list[Owned]:
        """Partitions that this worker owns, with their oldest and committed offsets, in order."""
        tps = {partition: TP(self.hot_topic, partition) for partition in sorted(partitions)}
        oldest = await self.consumer.earliest_offsets(*(TopicPartition(*tp) for tp in tps.values()))
        committed = await thread_of(self.consumer).committed(tps.values())
        return [Owned(p, p in kept, oldest[TopicPartition(*tp)], committed[tp]) for p, tp in tps.items()]

    def adopt(self, starts: Mapping[int, int]) -> None:
        """Read partitions that `assign` has left out. starts: the offset to read each from."""
        for partition, offset in starts.items():
            self.consumer.adopt(TP(self.hot_topic, partition), offset)

    async def _assigned(self, sender: Any, **_: Any) -> None:
        """Have the handler prepare the partitions. Heartbeats go on meanwhile; Faust waits without a time limit."""
        generation = self.consumer_generation_id
        self.consumer.last_heartbeat = time.monotonic()  # the group has just accepted this worker
        mine = frozenset(tp.partition for tp in self.consumer.assignment() if tp.topic == self.hot_topic)
        in_a_row = self._owned_in is not None and generation == self._owned_in + 1
        kept = mine & self._owned if in_a_row else frozenset()
        try:
            start = await self.handler.assign(await self.owned(mine, kept))
            if self.consumer_generation_id != generation:
                return  # another rebalance has begun and will call this again
            self.consumer.starts = {TP(self.hot_topic, partition): offset for partition, offset in start.items()}
        except SupersededError as error:
            if not await self.rebalanced(generation):
                await self.fail(error)
                raise
            return  # the rebalance that came will call this again
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # leaked from another task; Faust would wait for ever
                await self.fail(error)
            raise
        except Exception as error:
            await self.fail(error)
            raise
        self._owned, self._owned_in = mine, generation
        self.is_assigned.set()
