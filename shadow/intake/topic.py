"""The `labels` topic: appends labels to it, and brings them into the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer.errors import BrokerError, UserError
from scorer.kafka.partitioner import partition_of
from scorer.kafka.producer import BatchProducer
from scorer.kafka.reading import reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.batch import Record
from scorer.settings import CommonSettings
from shadow import metrics
from shadow.labels.label import Label, Vote, parse, vote
from shadow.store.connection import AWAY
from shadow.store.labels import LabelStore

log = logging.getLogger(__name__)

#: Most labels of a fetch.
MOST_RECORDS = 5_000
#: Pause after Kafka or Redis was unavailable.
RETRY_SECONDS = 1.0
#: Time between two checks that the store has lost nothing.
CHECK_SECONDS = 5.0


async def send(settings: CommonSettings, labels: Sequence[Label]) -> None:
    """Append labels and wait until they are acknowledged; labels of one transaction keep their order. Raises
    BrokerError."""
    topic = settings.topics.labels
    count = len(await _partitions(settings))
    by_partition: dict[int, list[Record]] = defaultdict(list)
    for label in labels:
        by_partition[partition_of(label.key, count)].append((label.key, label.encode()))
    producer = BatchProducer(settings)
    try:
        await producer.start(require_idempotence=False)
        for partition, records in by_partition.items():
            await producer.write(topic, partition, records)
    except KafkaError as error:
        raise BrokerError(
            f"topic {topic}: Kafka did not accept all labels ({error}); send them again, which is safe"
        ) from None
    finally:
        await producer.stop()


async def _partitions(settings: CommonSettings) -> list[TopicPartition]:
    found = await partitions_of(settings, settings.topics.labels)
    if not found:
        raise BrokerError(
            f"topic {settings.topics.labels}: is missing, or this user may not describe it; create it with "
            "`scorer topics`"
        )
    return found


class LabelTail:
    """Brings every label of the topic into the store.

    Each `shadow serve` runs one; merging a label twice changes nothing. Starts at the offsets up to which the store has
    merged labels, and returns to them if Redis lost some.
    """

    def __init__(self, settings: CommonSettings, store: LabelStore) -> None:
        self._settings, self._store = settings, store
        self._is_stopping = False

    def stop(self) -> None:
        """Have `run` end at its next chance, as a cancellation may get lost: see
        `scorer.deployments.ledger.Follower.stop`."""
        self._is_stopping = True

    async def run(self) -> None:
        """Follow the topic until `stop`."""
        while not self._is_stopping:
            try:
                parts = await _partitions(self._settings)
                async with reader(self._settings) as consumer:
                    await self._follow(consumer, parts)
            except (*AWAY, KafkaError, UserError) as error:
                log.warning("labels: cannot be followed, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> None:
        consumer.assign(parts)
        position = await self._seek(consumer, parts)
        checked = time.monotonic()
        while not self._is_stopping:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MOST_RECORDS)
            if fetched:
                reached = {at.partition: records[-1].offset + 1 for at, records in fetched.items()}
                await self._store.merge(
                    self._votes([record for records in fetched.values() for record in records]), reached
                )
                position |= reached
            if time.monotonic() - checked >= CHECK_SECONDS:
                checked = time.monotonic()
                standing = await self._store.reached(position)
                if any(standing[partition] < to for partition, to in position.items()):
                    log.error("labels: Redis has lost some; reading them again")
                    position = await self._seek(consumer, parts)

    async def _seek(self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> dict[int, int]:
        oldest = await consumer.beginning_offsets(parts)
        reached = await self._store.reached(at.partition for at in oldest)
        position = {}
        for at, first in oldest.items():
            to = max(first, reached[at.partition])
            if 0 < reached[at.partition] < first:
                log.error(
                    "labels: partition %d: retention deleted offsets %d to %d before they were read",
                    at.partition,
                    reached[at.partition],
                    first,
                )
                metrics.LABELS_LOST.inc(first - reached[at.partition])
            consumer.seek(at, to)
            position[at.partition] = to
        await self._store.merge([], position)
        return position

    def _votes(self, records: Sequence[Any]) -> list[Vote]:
        """The votes of records. Records that are not valid labels are counted and skipped."""
        out = []
        for record in records:
            try:
                label = parse(orjson.loads(record.value or b""), self._settings.card_number_fields)
            except ValueError as error:
                metrics.LABELS_REFUSED.inc()
                log.warning("labels: partition %d, offset %d: not a label: %s", record.partition, record.offset, error)
                continue
            metrics.LABELS.labels(label.source, label.verdict).inc()
            out.append(vote(label, record.timestamp))
        return out
