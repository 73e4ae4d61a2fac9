"""Asks the brokers, with a client of its own, whether records wait for a worker of a group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer.kafka.connection import connection
from scorer.settings import CommonSettings

#: Longest wait for all answers to one question. Brokers that need longer count as away.
ANSWER_SECONDS = 5.0
#: Longest wait of one fetch, in milliseconds, and how many fetches must bring nothing before nothing is there.
WAIT_MS, TRIES = 250, 4


class Probe:
    """Looks at the partitions of one topic. Its client has no part in the group; it only asks for the group's commits.

    None of its answers comes from the worker's own client, which may be the one that stands still.
    """

    def __init__(self, settings: CommonSettings, group: str, topic: str) -> None:
        self._settings, self._group, self._topic = settings, group, topic
        self._consumer: AIOKafkaConsumer | None = None
        self._empty: dict[int, tuple[int, int]] = {}  # from and to which offset there are no records

    async def waiting(self, finished: Mapping[int, int]) -> frozenset[int] | None:
        """Partitions with records after what a worker has finished; None if the brokers do not answer.

        They answer if the group's coordinator does, and the leaders of all these partitions, or of all partitions if
        none are given. finished: by partition, the offset after the last finished record. Where a log goes on there, it
        is read: markers of transactions take offsets, too, and no worker ever gets them; nor does who reads committed
        records get those of an open transaction.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._waiting({TopicPartition(self._topic, p): at for p, at in finished.items()})
        except (KafkaError, OSError, TimeoutError):
            await self.close()
            return None

    async def _waiting(self, finished: Mapping[TopicPartition, int]) -> frozenset[int]:
        consumer = await self._started()
        await consumer.committed(next(iter(finished), TopicPartition(self._topic, 0)))  # whether it answers
        ends = await consumer.end_offsets(list(finished) or await self._all(consumer))
        behind = {tp: at for tp, at in finished.items() if ends[tp] > at}
        asked = {tp: at for tp, at in behind.items() if self._empty.get(tp.partition) != (at, ends[tp])}
        if not asked:
            return frozenset()
        consumer.assign(list(asked))
        for tp, at in asked.items():
            consumer.seek(tp, at)
        for _ in range(TRIES):
            came = await consumer.getmany(timeout_ms=WAIT_MS, max_records=1000)
            if found := frozenset(tp.partition for tp, records in came.items() if records[-1].offset >= asked[tp]):
                return found
        self._empty.update({tp.partition: (at, ends[tp]) for tp, at in asked.items()})
        return frozenset()

    async def _all(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        if consumer.partitions_for_topic(self._topic) is None:
            await consumer.topics()
        return [TopicPartition(self._topic, p) for p in sorted(consumer.partitions_for_topic(self._topic) or ())]

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **connection(self._settings),
                client_id=f"{self._settings.worker_id}-probe",
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._settings.reads,
                request_timeout_ms=int(ANSWER_SECONDS * 1000),
            )
            await self._consumer.start()
        return self._consumer

    async def close(self) -> None:
        """Disconnect; the next question connects again."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await consumer.stop()
