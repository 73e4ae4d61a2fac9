"""Reads partitions to their ends, without a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.connection import FORBIDDEN, connection, forbidden, unreachable
from scorer.kafka.stopping import stop
from scorer.settings import CommonSettings

#: Longest wait of one fetch while reading a partition to its end, in milliseconds.
WAIT_MS = 250
#: More control records than are ever left after the last record of a partition.
MARKERS = 64
#: Fetches after which `spans` no longer waits for a partition's end.
SPAN_TRIES = 20


@asynccontextmanager
async def reader(settings: CommonSettings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group. Raises BrokerError if no broker answers, or this user may not read.

    options: passed on to aiokafka.
    """
    consumer = AIOKafkaConsumer(
        **connection(settings),
        client_id=f"{settings.worker_id}-reader",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=WAIT_MS,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        **options,
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await stop(consumer)
        raise await unreachable(settings, error) from None
    await asyncio.sleep(0)  # aiokafka's `stop` leaks a CancelledError if its own tasks have not begun yet
    try:
        yield consumer
    except FORBIDDEN as error:
        raise forbidden(settings, error) from None
    finally:
        await stop(consumer)


async def read_to_end(
    consumer: AIOKafkaConsumer, windows: Mapping[TopicPartition, int | None]
) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """Read partitions to their present ends, in chunks; each partition in log order.

    windows: by partition, how many of its last records to read at least; None reads all. Afterwards the consumer is
    assigned to the partitions that have records, each at its end; if none has, its assignment is unchanged. Raises
    KafkaError.
    """
    everything = list(windows)
    # Asked before any fetch, which would hold up these answers on the same connection.
    oldest = await consumer.beginning_offsets(everything)
    # Lower bounds: an embedded broker answers with the first offset of the last batch. The fetches tell the true ends.
    bound = await consumer.end_offsets(everything)
    reading = {tp for tp in everything if bound[tp] > oldest[tp]}
    if not reading:
        return
    consumer.assign(list(reading))
    for tp in reading:
        window = windows[tp]
        consumer.seek(tp, oldest[tp] if window is None else max(oldest[tp], bound[tp] - window))
    while reading:
        fetched = await consumer.getmany(*reading, timeout_ms=WAIT_MS, max_records=20_000)
        require_tasks(consumer)
        for tp, records in fetched.items():
            yield tp, records
        for tp in list(reading):
            high = consumer.highwater(tp)
            if high is not None and await consumer.position(tp) >= high:
                reading.discard(tp)
                consumer.pause(tp)
    consumer.resume(*consumer.assignment())


async def spans(consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition]) -> dict[int, tuple[int, int]]:
    """Oldest offset and offset after the last record, by partition number. parts: partitions of one topic.

    Control records after the last record (`scorer.kafka.fence`) are left out: no consumer ever gets them. Raises
    KafkaError.
    """
    oldest = await consumer.beginning_offsets(parts)
    bound = await consumer.end_offsets(parts)  # lower bounds, as in `read_to_end`
    consumer.assign(parts)
    after = {tp: max(oldest[tp], bound[tp] - MARKERS) for tp in parts}
    for tp, start in after.items():
        consumer.seek(tp, start)
    ends: dict[TopicPartition, int] = {}
    reading = set(parts)
    for _ in range(SPAN_TRIES):
        for tp, records in (await consumer.getmany(timeout_ms=WAIT_MS)).items():
            after[tp] = records[-1].offset + 1
        for tp in list(reading):
            high = consumer.highwater(tp)
            if high is not None and await consumer.position(tp) >= ends.setdefault(tp, max(high, bound[tp])):
                reading.discard(tp)
        if not reading:
            break
    return {tp.partition: (oldest[tp], ends.get(tp, bound[tp]) if tp in reading else after[tp]) for tp in parts}
