"""Writes whole batches of records to one partition and waits until every one is acknowledged, in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from scorer.connection import connection, unreachable
from scorer.errors import BrokerError
from scorer.settings import CommonSettings

#: Largest batch, in bytes before compression; a broker takes 1,048,588 by default.
BATCH_BYTES = 900_000
#: Largest request; a dead letter may be as large as its topic allows.
REQUEST_BYTES = 4 * 1024 * 1024

Record = tuple[bytes | None, bytes | None]
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Write:
    """Records for the end of a partition, in order. headers: one for each record, or none at all."""

    topic: str
    partition: int
    records: Sequence[Record]
    headers: Sequence[Headers] = ()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """A broker that cannot do it is an answer here, not an error to log."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fill(batch: Any, records: Sequence[Record], headers: Sequence[Headers]) -> int:
    """Put as many records as fit into a batch and close it; how many that were, at least one.

    They go to the builder within the batch, with one time for all: the batch's own `append` takes three times as long.
    A builder takes its first record whatever its size.
    """
    append, now_ms, none = batch._builder.append, int(time.time() * 1000), []  # type: ignore[var-annotated]
    n = 0
    for key, value in records:
        if append(n, now_ms, key, value, list(headers[n]) if headers else none) is None:
            break
        n += 1
    batch._relative_offset = n
    batch.close()
    return n


class BatchProducer:
    """A producer of batches. A failed send raises KafkaError, and nothing after it is sent."""

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
        """Connect, idempotent where the broker can.

        Raises BrokerError if the broker cannot be reached, or cannot do that and it is required.
        """
        for idempotent in (True, False):
            producer = self._make(idempotent)
            try:
                with _quiet(logging.getLogger("aiokafka.producer.sender")):
                    await producer.start()
            except (KafkaError, OSError) as error:
                await producer.stop()
                if idempotent and not isinstance(error, OSError) and type(error).__name__ != "KafkaConnectionError":
                    if require_idempotence:
                        raise BrokerError(
                            f"kafka {self._settings.bootstrap}: has no idempotent producers; "
                            "use one that has, or set SCORER_REQUIRE_IDEMPOTENCE=false"
                        ) from None
                    continue
                raise await unreachable(self._settings, error) from None
            self._producer, self.is_idempotent = producer, idempotent
            return

    def _make(self, idempotent: bool) -> AIOKafkaProducer:
        return AIOKafkaProducer(**self._options, enable_idempotence=idempotent)

    async def stop(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def write(
        self, topic: str, partition: int, records: Iterable[Record], headers: Sequence[Headers] = ()
    ) -> None:
        """Append records to a partition in order and wait for the acknowledgement of the last.

        headers: one for each record, or none at all. A part that fails stops those after it, so the partition never has
        a later record without an earlier one.
        """
        await self.write_all([Write(topic, partition, list(records), headers)])

    async def write_all(self, writes: Iterable[Write]) -> None:
        """`write` to several partitions at once.

        Waits for all of them and only then raises what went wrong, ProducerFenced if nothing else did: who gives up
        must not have anything on its way still. What fits into one batch a partition takes no task of its own.
        """
        acks: list[Awaitable[Any]] = []
        errors: list[Exception] = []
        for write in writes:
            if write.records:
                try:
                    ack, n = await self._send(write)
                except KafkaError as error:
                    errors.append(error)
                else:
                    acks.append(ack if n == len(write.records) else asyncio.create_task(self._go_on(write, ack, n)))
        for ack in acks:  # all under way: to gather them would take a callback for each
            try:
                await ack
            except Exception as error:
                errors.append(error)
        for found in sorted(errors, key=lambda found: isinstance(found, ProducerFenced)):
            raise found

    async def _send(self, write: Write) -> tuple[Awaitable[Any], int]:
        """Hand the first records that fit into a batch to the broker: its acknowledgement, and how many they are."""
        if self._producer is None:
            raise BrokerError("producer: used before start")
        batch = self._producer.create_batch()
        n = _fill(batch, write.records, write.headers)
        return await self._producer.send_batch(batch, write.topic, partition=write.partition), n

    async def _go_on(self, write: Write, ack: Awaitable[Any], n: int) -> None:
        """The rest of what did not fit into one batch, each part when the one before it is there."""
        while True:
            await ack
            write = replace(write, records=write.records[n:], headers=write.headers[n:])
            if not write.records:
                return
            ack, n = await self._send(write)

    async def append(self, topic: str, key: bytes, value: bytes | None) -> int:
        """Append one record to partition 0; returns its offset."""
        if self._producer is None:
            raise BrokerError("producer: used before start")
        return int((await self._producer.send_and_wait(topic, value, key=key, partition=0)).offset)

    async def partitions_for(self, topic: str) -> set[int]:
        """Partitions of a topic."""
        if self._producer is None:
            raise BrokerError("producer: used before start")
        return set(await self._producer.partitions_for(topic))
