"""Sends transactions to Kafka: those of a file, and dead letters that are in order now."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.partitioner import DefaultPartitioner

from scorer.events import Reading, decode
from scorer.producer import BatchProducer, Record, Write
from scorer.settings import ScorerSettings
from scorer.topics import partitions_of, read_to_end, reader


class Sender:
    """Appends keyed records to `transactions`, each to the partition that Kafka's default partitioner gives its key."""

    def __init__(self, settings: ScorerSettings) -> None:
        self._topic = settings.topics.transactions
        self._producer = BatchProducer(settings)
        self._partitions: list[int] = []
        self._partition_of: dict[bytes, int] = {}

    async def __aenter__(self) -> Sender:
        await self._producer.start(require_idempotence=False)
        self._partitions = sorted(await self._producer.partitions_for(self._topic))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Append records, in order within each partition, and wait for the acknowledgement."""
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for key, value in zip(keys, values, strict=True):
            partition = self._partition_of.get(key)
            if partition is None:
                partition = DefaultPartitioner()(key, self._partitions, self._partitions)
                self._partition_of[key] = partition
            by_partition[partition].append((key, value))
        await self._producer.write_all(Write(self._topic, p, rows) for p, rows in by_partition.items())

    async def mark(self, topic: str, partition: int, keys: Sequence[bytes | None], offsets: Sequence[int]) -> None:
        """Note on the dead-letter topic which of its source offsets were sent again."""
        headers = [[("replayed", b"%d" % offset)] for offset in offsets]
        await self._producer.write(topic, partition, [(key, None) for key in keys], headers)


async def send_all(
    settings: ScorerSettings,
    chunks: Iterable[tuple[Sequence[bytes], Sequence[bytes]]],
    rate: float | None,
    progress: Callable[[int], Any],
) -> int:
    """Send chunks of keys and values, at most `rate` records a second; returns how many were sent."""
    sent, began = 0, time.monotonic()
    async with Sender(settings) as sender:
        for keys, values in chunks:
            step = len(keys) if rate is None else max(1, int(rate / 20))
            for start in range(0, len(keys), step):
                part = slice(start, start + step)
                await sender.send(keys[part], values[part])
                sent += len(keys[part])
                progress(len(keys[part]))
                if rate is not None:
                    await asyncio.sleep(max(0.0, began + sent / rate - time.monotonic()))
    return sent


@dataclass(frozen=True)
class Letter:
    """A dead letter that has not been sent again."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    field: str
    reason: str


async def dead_letters(settings: ScorerSettings) -> list[Letter]:
    """Dead letters in order of partition and offset, each source offset once."""
    topic = settings.topics.rejected
    letters: dict[tuple[int, int], Letter] = {}
    windows = dict.fromkeys(await partitions_of(settings, topic))
    async with reader(settings) as consumer:
        async for (_, partition), records in read_to_end(consumer, windows):
            for record in records:
                told = {name: value.decode(errors="replace") for name, value in record.headers}
                if "replayed" in told:
                    letters.pop((partition, int(told["replayed"])), None)
                elif "offset" in told:
                    at = int(told["offset"])
                    letter = Letter(partition, at, record.key, record.value, told["field"], told["reason"])
                    letters.setdefault((partition, at), letter)
    return [letters[at] for at in sorted(letters)]


async def send_repaired(settings: ScorerSettings, letters: Sequence[Letter], reading: Reading) -> list[Letter]:
    """Send again the letters that today's settings accept; returns the others, with today's reason."""
    decoded = decode([letter.value for letter in letters], reading)
    good = [letters[at] for at in decoded.positions]
    by_partition: dict[int, list[Letter]] = defaultdict(list)
    for letter in good:
        by_partition[letter.partition].append(letter)
    async with Sender(settings) as sender:
        await sender.send([card.encode() for card in decoded.events.cards], [letter.value or b"" for letter in good])
        for partition, sent in by_partition.items():
            keys, offsets = [letter.key for letter in sent], [letter.offset for letter in sent]
            await sender.mark(settings.topics.rejected, partition, keys, offsets)
    refused = {refusal.position: refusal for refusal in decoded.refusals}
    return [
        Letter(letter.partition, letter.offset, letter.key, letter.value, refused[at].field, refused[at].reason)
        for at, letter in enumerate(letters)
        if at in refused
    ]
