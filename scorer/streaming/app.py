"""Whole record batches through Faust, acknowledged as one range a partition.

Faust hands records to an agent one by one, at a task and a thread hop each: 160 us an event before any work. Here the
consumer wraps all that a fetch brought into one message, a batch for each partition, and Faust does the rest as ever:
membership, rebalancing, flow control, commits, lifecycle. How a range is acknowledged:

1. The consumer's loop delivers one `Fetch` of a `Batch` a partition and notes their ends; records below a partition's
   own next offset (they were seen already, around a rebalance) are dropped. While a fetch waits for the agent, what
   comes after it is added to it: so a busy worker gets larger batches, and no queue of small ones.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import faust
from aiokafka import TopicPartition
from faust.types import TP

from scorer.connection import credentials
from scorer.consumer import RecordMonitor, Transport
from scorer.fetch import Batch
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
        resumed, writes what another already has; only the broker can close it (`scorer.fence`).
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
