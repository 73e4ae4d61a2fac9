"""The `labels` topic: appends labels to it, and keeps the store up to it."""

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
from aiokafka.partitioner import DefaultPartitioner

from scorer.errors import BrokerError, UserError
from scorer.producer import BatchProducer, Record
from scorer.settings import CommonSettings
from scorer.topics import partitions_of, reader
from shadow import metrics
from shadow.connection import AWAY
from shadow.labels import Label, Vote, parse, vote
from shadow.labelstore import LabelStore

log = logging.getLogger(__name__)

MOST_RECORDS = 5_000
RETRY_SECONDS = 1.0
#: How often the store is asked whether it still has what it was given.
CHECK_SECONDS = 5.0


async def send(settings: CommonSettings, labels: Sequence[Label]) -> None:
    """Append labels, those of a transaction in order, and wait until they are acknowledged. Raises BrokerError."""
    topic = settings.topics.labels
    partitions = sorted(at.partition for at in await _partitions(settings))
    by_partition: dict[int, list[Record]] = defaultdict(list)
    for label in labels:
        partition = DefaultPartitioner()(label.key, partitions, partitions)
        by_partition[partition].append((label.key, label.encode()))
    producer = BatchProducer(settings)
    try:
        await producer.start(require_idempotence=False)
        for partition, records in by_partition.items():
            await producer.write(topic, partition, records)
    except KafkaError as error:
        raise BrokerError(f"topic {topic}: labels were not all accepted ({error}); load them again") from None
    finally:
        await producer.stop()


async def _partitions(settings: CommonSettings) -> list[TopicPartition]:
    found = await partitions_of(settings, settings.topics.labels)
    if not found:
        raise BrokerError(f"topic {settings.topics.labels}: is missing; a scorer creates it at its start")
    return found


class LabelTail:
    """Brings every label of the topic into the store, in every `shadow serve`: taking one in twice changes nothing.

    It goes on from the store's own fence, and goes back to it where Redis lost something.
    """

    def __init__(self, settings: CommonSettings, store: LabelStore) -> None:
        self._settings, self._store = settings, store
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._go_on(), name="labels")

    async def stop(self) -> None:
        """End. A cancellation alone may be lost: see `scorer.ledger.Follower.stop`."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _go_on(self) -> None:
        while not self._is_stopping:
            try:
                parts = await _partitions(self._settings)
                async with reader(self._settings) as consumer:
                    await self._follow(consumer, parts)
            except (*AWAY, KafkaError, UserError) as error:
                log.warning("labels: not followed for a moment (%s)", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> None:
        consumer.assign(parts)
        position = await self._seek(consumer, parts)
        checked = time.monotonic()
        while not self._is_stopping:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MOST_RECORDS)
            if fetched:
                reached = {at.partition: records[-1].offset + 1 for at, records in fetched.items()}
                await self._store.merge(_votes([record for records in fetched.values() for record in records]), reached)
                position |= reached
            if time.monotonic() - checked >= CHECK_SECONDS:
                checked = time.monotonic()
                standing = await self._store.reached(position)
                if any(standing[partition] < to for partition, to in position.items()):
                    log.error("labels: redis has lost some; reading them again")
                    position = await self._seek(consumer, parts)

    async def _seek(self, consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> dict[int, int]:
        oldest = await consumer.beginning_offsets(parts)
        reached = await self._store.reached(at.partition for at in oldest)
        position = {}
        for at, first in oldest.items():
            to = max(first, reached[at.partition])
            if 0 < reached[at.partition] < first:
                log.error(
                    "labels: partition %d: retention took %d to %d unread", at.partition, reached[at.partition], first
                )
                metrics.LABELS_LOST.inc(first - reached[at.partition])
            consumer.seek(at, to)
            position[at.partition] = to
        await self._store.merge([], position)
        return position


def _votes(records: Sequence[Any]) -> list[Vote]:
    """What records say; those that are no labels are counted and passed over."""
    out = []
    for record in records:
        try:
            label = parse(orjson.loads(record.value or b""))
        except ValueError as error:
            metrics.LABELS_REFUSED.inc()
            log.warning("labels: partition %d, offset %d is none: %s", record.partition, record.offset, error)
            continue
        metrics.LABELS.labels(label.source, label.verdict).inc()
        out.append(vote(label, record.timestamp))
    return out
