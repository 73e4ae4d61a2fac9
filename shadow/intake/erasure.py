"""Asks the scorers and the archive to erase a card, and waits for the scorers' answers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer.errors import BrokerError, UserError
from scorer.kafka.connection import FORBIDDEN, forbidden
from scorer.kafka.producer import BatchProducer
from scorer.kafka.reading import reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest, archive_key, is_for_archive, read, read_for_archive
from scorer.settings import CommonSettings

#: Longest wait of one fetch, in milliseconds.
LOOK_MS = 500


@dataclass
class Erasing:
    """A request, and what the scorers have answered.

    value: as the topic gets it. pending, erased: partitions, in order.
    archive: what the archive has answered by now; None if nothing, or if there is none, which nobody here can tell.
    """

    settings: CommonSettings
    request: str
    value: bytes
    pending: list[int]
    consumer: AIOKafkaConsumer
    erased: list[int] = field(default_factory=list)
    archive: str | None = None

    async def ask(self) -> None:
        """Send the request. Raises BrokerError if Kafka does not take it."""
        topic = self.settings.topics.erasures
        producer = BatchProducer(self.settings)
        try:
            await producer.start(require_idempotence=False)
            for partition in self.pending:
                await producer.write(topic, partition, [(self.request.encode(), self.value)])
            await producer.write(topic, self.pending[0], [(archive_key(self.request), self.value)])
        except FORBIDDEN as error:
            raise forbidden(self.settings, error) from None
        except KafkaError as error:
            raise BrokerError(f"topic {topic}: Kafka did not accept the request ({error}); send it again") from None
        finally:
            await producer.stop()

    async def wait(self, seconds: float) -> None:
        """Wait until every partition has answered, at most so long. Raises BrokerError."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.pending and asyncio.get_running_loop().time() < deadline:
            try:
                fetched = await self.consumer.getmany(timeout_ms=LOOK_MS)
            except FORBIDDEN:
                raise
            except KafkaError as error:
                raise BrokerError(f"erasures: the answers cannot be read ({error})") from None
            for tp, records in fetched.items():
                for record in records:
                    self._take(tp.partition, record.key, record.value)

    def _take(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        is_archives = is_for_archive(key)
        try:
            name, said = (read_for_archive if is_archives else read)(key, value, self.settings.card_number_fields)
        except ValueError:
            return
        if name != self.request:
            return
        if is_archives:
            self.archive = said.done if isinstance(said, ErasureAnswer) else self.archive
            return
        if isinstance(said, ErasureAnswer) and partition in self.pending:
            self.pending.remove(partition)
            if said.done == "erased":
                self.erased = sorted([*self.erased, partition])


@asynccontextmanager
async def erasing(settings: CommonSettings, card: str) -> AsyncIterator[Erasing]:
    """A request to erase a card, which is not sent yet. Raises UserError if it is no card, BrokerError if nobody could
    be asked."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        value = ErasureRequest.of(card, at, settings.card_number_fields).encode()
    except ValueError as error:
        raise UserError(f"card: {error}") from None
    topic = settings.topics.erasures
    partitions = sorted(tp.partition for tp in await partitions_of(settings, topic))
    if not partitions:
        raise BrokerError(
            f"topic {topic}: is missing, or this user may not describe it; create it with `scorer topics`"
        )
    async with reader(settings) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in partitions])
        await consumer.seek_to_beginning()
        yield Erasing(settings, secrets.token_hex(8), value, partitions, consumer)
