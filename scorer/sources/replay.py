"""Sends transactions to Kafka: those of a file, and dead letters that today's settings accept."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorer.kafka.aiokafka_internals import Headers
from scorer.kafka.connection import FORBIDDEN, forbidden
from scorer.kafka.partitioner import partition_of
from scorer.kafka.producer import BatchProducer, Write
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.decode import decode
from scorer.pipeline.encode import OF_SOURCE, SENT_AT, masked_letters
from scorer.pipeline.events import Refusal
from scorer.pipeline.transaction import Reading
from scorer.settings import ScorerSettings

#: What becomes of a dead letter with a masked card number.
NOT_AS_SENT = "the card number is masked, so this cannot be sent again: send the transaction itself with a token"


class Sender:
    """Appends records to `transactions`, each to the partition that the setting `partitioner` chooses for its key.

    Raises BrokerError if this user may not.
    """

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._topic = settings.topics.transactions
        self._producer = BatchProducer(settings)
        self._partitions = 0
        self._partition_of: dict[bytes, int] = {}

    async def __aenter__(self) -> Sender:
        await self._producer.start(require_idempotence=False)
        try:
            self._partitions = len(await self._producer.partitions_for(self._topic))
        except FORBIDDEN as error:
            await self._producer.stop()
            raise forbidden(self._settings, error) from None
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._producer.stop()
        if isinstance(error, FORBIDDEN):
            raise forbidden(self._settings, error) from None

    async def send(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        headers: Sequence[Headers] = (),
        stamps_ms: Sequence[int] | None = None,
        partitions: Sequence[int | None] = (),
    ) -> None:
        """Append records, in order within each partition, and wait until they are acknowledged. Raises KafkaError.

        headers, stamps_ms: as in `Write`. partitions: where each record goes; none at all, or None for one that goes
        where its key does.
        """
        by_partition: dict[int, list[int]] = defaultdict(list)
        for at, key in enumerate(keys):
            partition = partitions[at] if partitions else None
            by_partition[self._by_key(key) if partition is None else partition].append(at)
        await self._producer.write_all(
            Write(
                self._topic,
                partition,
                [(keys[at], values[at]) for at in rows],
                [headers[at] for at in rows] if headers else (),
                None if stamps_ms is None else [stamps_ms[at] for at in rows],
            )
            for partition, rows in by_partition.items()
        )

    def _by_key(self, key: bytes) -> int:
        partition = self._partition_of.get(key)
        if partition is None:
            partition = partition_of(key, self._partitions, self._settings.partitioner)
            self._partition_of[key] = partition
        return partition

    async def mark(self, topic: str, partition: int, keys: Sequence[bytes | None], offsets: Sequence[int]) -> None:
        """Note in a partition of the dead-letter topic which source offsets were sent again. Raises KafkaError."""
        headers = [[("replayed", b"%d" % offset)] for offset in offsets]
        await self._producer.write(topic, partition, [(key, None) for key in keys], headers)


async def send_all(
    settings: ScorerSettings,
    chunks: Iterable[tuple[Sequence[bytes], Sequence[bytes]]],
    rate: float | None,
    progress: Callable[[int], Any],
) -> int:
    """Send chunks of keys and values; returns how many records were sent.

    rate: records per second at most, None for no limit. progress: called with the number of records just sent. Raises
    BrokerError if no broker answers, KafkaError if a send fails.
    """
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
    """A dead letter that has not been sent again.

    partition, offset: where its transaction is. is_masked: a card number in it is masked, so this is no longer what was
    sent. headers, sent_ms: of the transaction's record; its timestamp in milliseconds since 1970, negative if unknown.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    field: str
    reason: str
    is_masked: bool
    headers: tuple[tuple[str, bytes], ...] = ()
    sent_ms: int = -1


async def dead_letters(settings: ScorerSettings) -> list[Letter]:
    """Dead letters not sent again yet, in order of partition and offset. Raises BrokerError if no broker answers.

    Those that an earlier version wrote are masked here.
    """
    topic = settings.topics.rejected
    reading = Reading(mapping=settings.mapping, card_number_fields=settings.card_number_fields)
    letters: dict[tuple[int, int], Letter] = {}
    windows = dict.fromkeys(await partitions_of(settings, topic))
    async with reader(settings) as consumer:
        async for (_, partition), records in read_to_end(consumer, windows):
            masked = masked_letters([r.key for r in records], [r.value for r in records], reading)
            for i, record in enumerate(records):
                told = {name: value.decode(errors="replace") for name, value in record.headers}
                if "replayed" in told:
                    letters.pop((partition, int(told["replayed"])), None)
                elif "offset" in told:
                    at = int(told["offset"])
                    key, value = masked.get(i, (record.key, record.value))
                    is_masked = i in masked or told.get("masked") == "true"
                    headers = tuple(
                        (name.removeprefix(OF_SOURCE), text)
                        for name, text in record.headers
                        if name.startswith(OF_SOURCE) and text is not None
                    )
                    sent_ms = int(told.get(SENT_AT, -1))
                    letter = Letter(
                        partition, at, key, value, told["field"], told["reason"], is_masked, headers, sent_ms
                    )
                    letters.setdefault((partition, at), letter)
    return [letters[at] for at in sorted(letters)]


async def send_repaired(settings: ScorerSettings, letters: Sequence[Letter], reading: Reading) -> list[Letter]:
    """Send the dead letters again that `reading` accepts, and mark them as sent; returns the others with their reason.

    Each goes back to the partition where it was, beside the other transactions of its card, whichever partitioner its
    sender has. One whose key is not its card gets its card for a key and goes where that goes, unless the mapping reads
    keys. Passes over those with a masked card number, even where the settings accept what is left. Raises BrokerError
    if no broker answers, KafkaError if a send fails.
    """
    masked = [replace(letter, reason=f"{letter.reason}; {NOT_AS_SENT}") for letter in letters if letter.is_masked]
    letters = [letter for letter in letters if not letter.is_masked]
    decoded = decode(
        [letter.value for letter in letters],
        reading,
        [letter.key for letter in letters] if reading.mapping.has_key else (),
        [letter.headers for letter in letters],
        np.array([letter.sent_ms for letter in letters], dtype=np.int64),
    )
    good = [letters[at] for at in decoded.positions]
    by_partition: dict[int, list[Letter]] = defaultdict(list)
    for letter in good:
        by_partition[letter.partition].append(letter)
    async with Sender(settings) as sender:
        cards = [card.encode() for card in decoded.events.cards]
        keys = [letter.key or b"" for letter in good] if reading.mapping.has_key else cards
        await sender.send(
            keys,
            [letter.value or b"" for letter in good],
            [letter.headers for letter in good],
            [letter.sent_ms for letter in good] if reading.mapping.has_timestamp else None,
            [letter.partition if key == letter.key else None for key, letter in zip(keys, good, strict=True)],
        )
        for partition, sent in by_partition.items():
            offsets = [letter.offset for letter in sent]
            await sender.mark(settings.topics.rejected, partition, [letter.key for letter in sent], offsets)
    refused = {refusal.position: refusal for refusal in decoded.refusals}
    refused |= {at: Refusal(at, "value", f"passed over: {what}") for at, what in decoded.skipped.items()}
    others = [
        replace(letter, field=refused[at].field, reason=refused[at].reason)
        for at, letter in enumerate(letters)
        if at in refused
    ]
    return sorted([*masked, *others], key=lambda letter: (letter.partition, letter.offset))
