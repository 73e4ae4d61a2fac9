"""The harness's own access to Kafka: sends, counts and reads with nothing of the product's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import KafkaError

Result = TypeVar("Result")
#: Longest wait for one answer of a broker that may be away.
PATIENCE_MS = 15_000


class Wire:
    """A producer and a consumer on a loop of their own thread, so that scenarios are plain synchronous code."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._producer: AIOKafkaProducer | None = None
        self._counter: AIOKafkaConsumer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._seen: dict[TopicPartition, list[int]] = {}  # offsets of what the reader has read
        self._counts: dict[str, int] = {}  # partitions by topic

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Let go of the broker."""

        async def go() -> None:
            for client in (self._producer, self._counter, self._reader):
                if client is not None:
                    await client.stop()

        self._do(go())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def send(self, topic: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Append records by key, in order, and wait until every one is acknowledged."""

        async def go() -> None:
            if self._producer is None:
                self._producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap, enable_idempotence=True, request_timeout_ms=120_000
                )
                await self._producer.start()
            waiting = [await self._producer.send(topic, value, key=key) for key, value in rows]
            await asyncio.gather(*waiting)

        self._do(go())

    def seen(self, *topics: str) -> dict[str, dict[int, list[int]]] | None:
        """Offsets of the records that topics had whenever this was asked, by partition, in log order; None while no
        broker answers. An end is no count: Kafka keeps markers between records."""

        async def go() -> dict[str, dict[int, list[int]]] | None:
            try:
                async with asyncio.timeout(PATIENCE_MS / 1000):
                    await self._look(await self._partitions(topics))
            except (KafkaError, OSError, TimeoutError):
                return None
            return {topic: {p: self._seen[t, p] for t, p in self._seen if t == topic} for topic in topics}

        return self._do(go())

    async def _look(self, parts: Sequence[TopicPartition]) -> None:
        """Read on to the present ends of partitions."""
        if self._counter is None or self._reader is None:
            self._counter = await self._consumer(request_timeout_ms=PATIENCE_MS, isolation_level="read_committed")
            self._reader = await self._consumer(request_timeout_ms=PATIENCE_MS, isolation_level="read_committed")
        # The reader always has a fetch under way, which would hold this answer up on its connection.
        ends = await self._counter.end_offsets(parts)
        fresh = [part for part in parts if part not in self._seen]
        if fresh:
            positions = {part: await self._reader.position(part) for part in self._seen}
            self._reader.assign([*self._seen, *fresh])
            for part in fresh:
                self._seen[part] = []
            for part in self._seen:
                self._reader.seek(part, positions.get(part, 0))
        while any([await self._reader.position(part) < ends[part] for part in parts]):
            for part, records in (await self._reader.getmany(timeout_ms=50)).items():
                self._seen[part] += [record.offset for record in records]

    def ends_by_partition(self, topic: str) -> dict[int, int]:
        """The offset after the newest record of each partition."""

        async def go() -> dict[int, int]:
            consumer = await self._consumer()
            try:
                ends = await consumer.end_offsets(await self._partitions([topic]))
                return {part.partition: end for part, end in ends.items()}
            finally:
                await consumer.stop()

        return self._do(go())

    def read(self, *topics: str) -> dict[str, dict[int, list[Any]]]:
        """Every record that is left, by topic and partition, in log order."""

        async def go() -> dict[str, dict[int, list[Any]]]:
            consumer = await self._consumer(isolation_level="read_committed")
            try:
                found: dict[str, dict[int, list[Any]]] = {topic: {} for topic in topics}
                parts = await self._partitions(topics)
                for topic, partition in parts:
                    found[topic][partition] = []
                ends, starts = await consumer.end_offsets(parts), await consumer.beginning_offsets(parts)
                consumer.assign(parts)
                for part in parts:
                    consumer.seek(part, starts[part])
                reading = {part for part in parts if ends[part] > starts[part]}
                async with asyncio.timeout(60):
                    while reading:
                        for (topic, partition), records in (await consumer.getmany(timeout_ms=200)).items():
                            found[topic][partition] += records
                        for part in list(reading):
                            if await consumer.position(part) >= ends[part]:
                                reading.discard(part)
                return found
            finally:
                await consumer.stop()

        return self._do(go())

    async def _consumer(self, **options: Any) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, **options
        )
        await consumer.start()
        return consumer

    def delete_before(self, topic: str, offsets: dict[int, int]) -> None:
        """Take the head of partitions away, as retention does."""
        records = {TopicPartition(topic, p): RecordsToDelete(before_offset=at) for p, at in offsets.items()}
        self._do(self._administer(lambda client: client.delete_records(records)))

    def raise_partitions(self, topic: str, count: int) -> None:
        """Give a topic more partitions."""
        self._do(self._administer(lambda client: client.create_partitions({topic: NewPartitions(count)})))
        self._counts.clear()

    def leaders(self, topic: str) -> dict[int, int]:
        """Id of the broker that leads each partition."""
        (described,) = self._do(self._administer(lambda client: client.describe_topics([topic])))
        return {part["partition"]: part["leader"] for part in described["partitions"]}

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Offsets that a group has committed."""
        found = self._do(self._administer(lambda client: client.list_consumer_group_offsets(group)))
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items()}

    async def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        for topic in topics:
            if topic not in self._counts:
                there = await self._administer(lambda client, topic=topic: client.describe_topics([topic]))
                self._counts[topic] = len(there[0]["partitions"])
        return [TopicPartition(topic, p) for topic in topics for p in range(self._counts[topic])]

    async def _administer(self, call: Any) -> Any:
        client = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await client.start()
        try:
            return await call(client)
        finally:
            await client.close()
