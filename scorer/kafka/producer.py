"""Appends whole batches of records to partitions, in order, and waits until the broker has acknowledged them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from scorer.errors import BrokerError
from scorer.kafka.aiokafka_internals import Headers, fill, queue
from scorer.kafka.connection import connection, unreachable
from scorer.kafka.stopping import stop
from scorer.pipeline.batch import Record
from scorer.settings import CommonSettings

#: Largest batch, in bytes before compression. By default a broker accepts up to 1,048,588.
BATCH_BYTES = 900_000
#: Largest request, in bytes. A dead letter is as large as its sender made the transaction.
REQUEST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """Records to append to a partition, in order. headers: one list for each record, or empty for none.

    stamps_ms: timestamp of each record, milliseconds since 1970; None for the time of sending.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    headers: Sequence[Headers] = ()
    stamps_ms: Sequence[int] | None = None


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silences a logger: here a broker that refuses is an answer, not an error to report."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _acknowledged(ack: asyncio.Future[Any]) -> None:
    """Wait for an acknowledgement; raises its error. Whoever is cancelled meanwhile leaves it to the producer."""
    if not ack.done():
        await asyncio.shield(ack)
    ack.result()


class BatchProducer:
    """Appends batches of records. A failed send raises KafkaError, and nothing after it is sent.

    Every method but `start` and `stop` raises BrokerError before `start`.
    """

    def __init__(self, settings: CommonSettings, compression: str | None = None) -> None:
        self._settings = settings
        self._options: dict[str, Any] = {
            **connection(settings),
            "client_id": f"{settings.worker_id}-producer",
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": BATCH_BYTES,
            "max_request_size": REQUEST_BYTES,
            "compression_type": None if compression in (None, "none") else compression,
            "request_timeout_ms": int(settings.request_seconds * 1000),
        }
        self._producer: AIOKafkaProducer | None = None
        self.is_idempotent = False

    async def start(self, require_idempotence: bool) -> None:
        """Connect, as an idempotent producer if the broker supports that.

        Raises BrokerError if the broker cannot be reached, or if idempotence is required and not supported.
        """
        for idempotent in (True, False):
            producer = self._make(idempotent)
            try:
                with _quiet(logging.getLogger("aiokafka.producer.sender")):
                    await producer.start()
            except (KafkaError, OSError) as error:
                await stop(producer)
                if idempotent and not isinstance(error, OSError) and type(error).__name__ != "KafkaConnectionError":
                    if require_idempotence:
                        raise BrokerError(
                            f"kafka {self._settings.bootstrap}: the broker does not support idempotent producers, "
                            "which SCORER_REQUIRE_IDEMPOTENCE asks for; use a broker that does"
                        ) from None
                    continue
                raise await unreachable(self._settings, error) from None
            self._producer, self.is_idempotent = producer, idempotent
            return

    def _make(self, idempotent: bool) -> AIOKafkaProducer:
        return AIOKafkaProducer(**self._options, enable_idempotence=idempotent)

    async def stop(self) -> None:
        """Send what is still buffered, then disconnect."""
        if self._producer is not None:
            await stop(self._producer, self._settings.request_seconds)
            self._producer = None

    async def write(
        self, topic: str, partition: int, records: Iterable[Record], headers: Sequence[Headers] = ()
    ) -> None:
        """Append records to a partition, in order, and wait until all are acknowledged.

        headers: one list for each record, or empty for none. If a batch of them fails, later ones are not sent, so the
        partition never holds a later record without the earlier ones. Raises KafkaError.
        """
        await self.write_all([Write(topic, partition, list(records), headers)])

    async def write_all(self, writes: Iterable[Write]) -> None:
        """`write` to several partitions at once.

        Waits for all of them before it raises: a caller that gives up must have nothing in flight. Raises KafkaError;
        ProducerFenced only if there was no other error.
        """
        acks: list[asyncio.Future[Any]] = []
        errors: list[Exception] = []
        for write in writes:
            if write.records:
                try:
                    ack, n = await self._send(write)
                except KafkaError as error:
                    errors.append(error)
                else:
                    acks.append(ack if n == len(write.records) else asyncio.create_task(self._go_on(write, ack, n)))
        for ack in acks:  # all are in flight already: those of one request are acknowledged while the first is awaited
            try:
                await _acknowledged(ack)
            except Exception as error:
                errors.append(error)
        for found in sorted(errors, key=lambda found: isinstance(found, ProducerFenced)):
            raise found

    async def _send(self, write: Write) -> tuple[asyncio.Future[Any], int]:
        """Send as many records as fit into one batch; returns its acknowledgement, and how many records it holds."""
        if self._producer is None:
            raise BrokerError("producer: not started; call start() first")
        batch = self._producer.create_batch()
        n = fill(batch, write.records, write.headers, write.stamps_ms)
        ack = queue(self._producer, batch, TopicPartition(write.topic, write.partition))
        if ack is None:
            ack = await self._producer.send_batch(batch, write.topic, partition=write.partition)
        return ack, n

    async def _go_on(self, write: Write, ack: asyncio.Future[Any], n: int) -> None:
        """Send the records that did not fit into the first batch, each batch after the one before is acknowledged."""
        while True:
            await _acknowledged(ack)
            stamps_ms = None if write.stamps_ms is None else write.stamps_ms[n:]
            write = replace(write, records=write.records[n:], headers=write.headers[n:], stamps_ms=stamps_ms)
            if not write.records:
                return
            ack, n = await self._send(write)

    async def append(self, topic: str, key: bytes, value: bytes | None, partition: int = 0) -> int:
        """Append one record and wait; returns its offset. Raises KafkaError."""
        if self._producer is None:
            raise BrokerError("producer: not started; call start() first")
        return int((await self._producer.send_and_wait(topic, value, key=key, partition=partition)).offset)

    async def in_all(self, topics: Sequence[str], partitions: Iterable[int]) -> set[int]:
        """Which of some partitions every one of these topics has. Asks the brokers anew where one seems to lack some.

        Raises KafkaError.
        """
        wanted = set(partitions)
        found = await self._in_all(topics, wanted)
        if found != wanted and self._producer is not None:
            await self._producer.client.force_metadata_update()
            found = await self._in_all(topics, wanted)
        return found

    async def _in_all(self, topics: Sequence[str], wanted: set[int]) -> set[int]:
        return wanted.intersection(*[await self.partitions_for(topic) for topic in topics])

    async def partitions_for(self, topic: str) -> set[int]:
        """Numbers of a topic's partitions."""
        if self._producer is None:
            raise BrokerError("producer: not started; call start() first")
        return set(await self._producer.partitions_for(topic))
