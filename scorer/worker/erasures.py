"""Follows the topic `erasures`: which requests are not answered yet."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.errors import UserError
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.erasure import ErasureRequest, is_for_archive, read
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: Pause after Kafka was unavailable, and time after which what was left undone is tried again.
RETRY_SECONDS = 1.0


class Erasures:
    """The requests of all partitions that are not answered yet, whoever owns the partition now."""

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._open: dict[int, dict[str, ErasureRequest]] = defaultdict(dict)
        self._news = asyncio.Event()
        self._said: dict[int, int] = {}  # offset of the last record of a partition that was said to be none of ours
        self._is_stopping = self._is_grown = False

    def of(self, partitions: Collection[int]) -> list[tuple[int, str, ErasureRequest]]:
        """The open requests of some partitions: partition, id and request."""
        return [(p, name, request) for p in partitions for name, request in self._open.get(p, {}).items()]

    def close(self, partition: int, name: str) -> None:
        """This worker has answered a request."""
        self._open[partition].pop(name, None)

    def look(self) -> None:
        """Have `news` return: something has changed."""
        self._news.set()

    async def news(self) -> None:
        """Wait until there may be something to do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS if any(self._open.values()) else None):
                await self._news.wait()
        self._news.clear()

    def stop(self) -> None:
        """Have `run` end at its next chance; see `scorer.deployments.ledger.Follower.stop`."""
        self._is_stopping = True

    def grown(self) -> None:
        """The topic has more partitions than before: have `run` follow them, too."""
        self._is_grown = True

    async def run(self) -> None:
        """Follow the topic until `stop`."""
        while not self._is_stopping:
            self._is_grown = False
            try:
                parts = await partitions_of(self._settings, self._settings.topics.erasures)
                async with reader(self._settings) as consumer:
                    await self._follow(consumer, parts)
            except (KafkaError, OSError, UserError) as error:
                log.warning("erasures: cannot be followed, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> None:
        self._open.clear()
        after = dict.fromkeys(parts, 0)
        async for tp, records in read_to_end(consumer, dict.fromkeys(parts)):
            self._fold(tp.partition, records)
            after[tp] = records[-1].offset + 1
        self._news.set()
        consumer.assign(parts)  # `read_to_end` leaves out those that are empty
        for tp, offset in after.items():
            consumer.seek(tp, offset)
        while not (self._is_stopping or self._is_grown):
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                self._fold(tp.partition, records)
                self._news.set()

    def _fold(self, partition: int, records: Sequence[Any]) -> None:
        for record in records:
            if record.value is None or is_for_archive(record.key):
                continue
            try:
                name, said = read(record.key, record.value, self._settings.card_number_fields)
            except ValueError:
                if record.offset > self._said.get(partition, -1):  # once, however often the topic is read again
                    self._said[partition] = record.offset
                    metrics.FOREIGN.labels(self._settings.topics.erasures).inc()
                    log.warning(
                        "erasures: passed over the record at offset %d of partition %d, which is none of ours",
                        record.offset,
                        partition,
                    )
                continue
            if isinstance(said, ErasureRequest):
                self._open[partition][name] = said
            else:
                self.close(partition, name)
