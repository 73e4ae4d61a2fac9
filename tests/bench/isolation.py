"""What the setting `isolation` costs: the scorer's client reads one stream by both ways in turn, on Apache Kafka.

cd tests && PYTHONPATH=.. ../.venv/bin/python -m bench.isolation

Streams: written plainly, and in transactions of Kafka, each of so many records. Only the CPU time of the client counts,
so other work on the machine matters little.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from harness.kafka import Kafka
from scorer.kafka.aiokafka_internals import keep_parsed
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.topics import admin
from scorer.settings import Isolation, ScorerSettings

RECORDS, BYTES, PAIRS = 50_000, 500, 9
#: Records of a transaction, by topic; 0: none are used.
STREAMS = {"plain": 0, "transactions-of-1000": 1000, "transactions-of-10": 10}
WAYS: tuple[Isolation, ...] = ("read_uncommitted", "read_committed")


async def write(settings: ScorerSettings, topic: str, size: int) -> None:
    """Fill a topic of one partition."""
    async with admin(settings) as client:
        await client.create_topics([NewTopic(topic, 1, 1)])
    value = b"x" * BYTES
    options = {"transactional_id": topic} if size else {}
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, **options) as producer:
        for start in range(0, RECORDS, size or RECORDS):
            if size:
                await producer.begin_transaction()
            for at in range(start, start + (size or RECORDS)):
                await producer.send(topic, value, key=b"card-%d" % (at % 1000))
            await producer.flush()
            if size:
                await producer.commit_transaction()


async def read(settings: ScorerSettings, topic: str, way: Isolation) -> float:
    """CPU microseconds of this thread for a record, when a whole topic is read."""
    at, n = TopicPartition(topic, 0), 0
    async with reader(settings, isolation_level=way) as consumer:
        keep_parsed(consumer)
        began = time.thread_time()
        async for _, records in read_to_end(consumer, {at: None}):
            n += len(records)
        took = time.thread_time() - began
    assert n == RECORDS, n
    return took / n * 1e6


async def measure(settings: ScorerSettings) -> None:
    """A line for each stream: medians of both ways, and of the ratios of all pairs."""
    for topic, size in STREAMS.items():
        await write(settings, topic, size)
        for way in WAYS:  # the first reading of all warms up
            await read(settings, topic, way)
        found: dict[Isolation, list[float]] = {way: [] for way in WAYS}
        for pair in range(PAIRS):
            for way in WAYS if pair % 2 else WAYS[::-1]:
                found[way].append(await read(settings, topic, way))
        ratios = [b / a for a, b in zip(found[WAYS[0]], found[WAYS[1]], strict=True)]
        told = " ".join(f"{way} {statistics.median(found[way]):.2f} us" for way in WAYS)
        print(
            f"{topic}: {told}; ratio {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}",
            flush=True,
        )


def main() -> None:
    """Measure on a broker of its own."""
    with tempfile.TemporaryDirectory() as name, Kafka(Path(name)) as broker:
        asyncio.run(measure(ScorerSettings(kafka=tuple(broker.address.split(",")))))


if __name__ == "__main__":
    main()
