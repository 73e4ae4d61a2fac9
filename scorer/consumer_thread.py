"""How Faust's thread drives aiokafka: how long a fetch waits and what it brings, heartbeats, leaving the group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from scorer.pace import Pace
from scorer.parsed import keep_parsed


def _size(record: Any) -> int:
    """Bytes of a record, about: key, value and a few of its own."""
    return len(record.key or b"") + len(record.value or b"") + 10


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread around one aiokafka consumer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # half of what a fetch brings of one partition: a backlog of any has that
        self._pace = Pace(self.app.settings.fetch_wait_ms / 2000, self.app.conf.consumer_max_fetch_size // 2)

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
        keep_parsed(self._ensure_consumer())

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        """Straight to the thread's loop: Faust's queue of calls would take five tasks more for each fetch."""
        consumer = self._ensure_consumer()
        most = consumer._max_poll_records
        fetching = self._fetch_records(consumer, active_partitions, timeout=timeout, max_records=most)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetching, self.thread_loop))

    async def _fetch_records(self, consumer: aiokafka.AIOKafkaConsumer, *args: Any, **options: Any) -> Any:
        came = await super()._fetch_records(consumer, *args, **options)
        if came:
            size = sum(len(records) * _size(records[-1]) for records in came.values())
            fetcher, is_behind = consumer._fetcher, self.consumer.is_behind
            fetcher._fetch_min_bytes = self._pace.came(size, time.monotonic(), is_behind)
            # twice as long as it gathers, as at the start
            fetcher._fetch_max_wait_ms = round(2000 * self._pace.every)
        return came

    async def committed(self, tps: Iterable[TP]) -> dict[TP, int | None]:
        """Committed offset of each partition, None where there is none."""
        consumer = self._ensure_consumer()
        return {tp: await self.call_thread(consumer.committed, TopicPartition(*tp)) for tp in tps}
