"""Follows the `deployments` topic, and appends to it such that of two changes at once only one wins."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.deployments.records import SCHEMA, Change, Entry, encode
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import BrokerError, UserError
from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.connection import connection, unreachable
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.stopping import stop
from scorer.settings import CommonSettings

log = logging.getLogger(__name__)


#: Starts a background task under a name.
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class StaleChangeError(UserError):
    """Another change of the slot, or another answer to the suggestion, came first."""


async def read(settings: CommonSettings) -> Deployments:
    """The present state of the topic. Raises BrokerError if no broker answers or the topic is missing."""
    deployments = Deployments()
    topic = settings.topics.deployments
    async with reader(settings) as consumer:
        await _require(consumer, topic)
        async for _, records in read_to_end(consumer, {TopicPartition(topic, 0): None}):
            for record in records:
                deployments.fold(record.key, record.value)
    return deployments


async def _require(consumer: AIOKafkaConsumer, topic: str) -> None:
    if topic not in await consumer.topics():
        raise BrokerError(
            f"topic {topic}: is missing, or this user may not describe it; create it with `scorer topics`"
        )


async def append(settings: CommonSettings, build: Callable[[Deployments], Entry]) -> tuple[LedgerLine, Deployments]:
    """Append the entry that `build` makes from the present state; returns its ledger line and the state after it.

    Raises StaleChangeError if another entry came first, BrokerError as `read` does, and whatever `build` raises.
    """
    deployments = await read(settings)
    entry = build(deployments)
    seq = deployments.next_seq(secrets.token_hex(4))
    topic = settings.topics.deployments
    await put(settings, {f"ledger/{seq}": encode(entry)})
    after = await read(settings)
    line = next((line for line in after.ledger if line.seq == seq), None)
    if line is None:
        raise BrokerError(f"topic {topic}: the broker acknowledged an entry and lost it; look at the broker's log")
    if line.is_void:
        raise StaleChangeError("somebody else changed a slot first; look at the change, then repeat the command")
    if isinstance(entry, Change):
        states = {
            f"slot/{name}": orjson.dumps({"schema": SCHEMA, **_state(after, name)}, option=orjson.OPT_SORT_KEYS)
            for name in entry.slots
        }
        await put(settings, states)
    return line, after


def _state(deployments: Deployments, name: str) -> dict[str, Any]:
    slot = deployments.slot(name)
    return {field: getattr(slot, field) for field in ("epoch", "digest", "threshold", "override", "since")}


async def put(settings: CommonSettings, records: Mapping[str, bytes | None]) -> None:
    """Write records by key, in order, and wait until they are acknowledged. Raises BrokerError."""
    producer = AIOKafkaProducer(**connection(settings), acks="all", linger_ms=0)
    try:
        await producer.start()
        for key, value in records.items():
            await producer.send_and_wait(settings.topics.deployments, value, key=key.encode(), partition=0)
    except (KafkaError, OSError) as error:
        raise await unreachable(settings, error) from None
    finally:
        await stop(producer, settings.request_seconds)


class Follower:
    """Keeps the state of the topic up to date.

    on_change: awaited with the state once `start` has read the topic to its end, and after each chunk of new records.
    """

    def __init__(self, settings: CommonSettings, on_change: Callable[[Deployments], Awaitable[None]]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._is_stopping = False
        self._said = -1
        self.deployments = Deployments()

    async def start(self, spawn: Spawn) -> None:
        """Read the topic to its end, then follow it in the background. Raises KafkaError, OSError or UserError.

        spawn: starts the task that follows, and sees to it that this task does not end unnoticed.
        """
        caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        following = spawn(self._follow(caught_up), "deployments")
        await asyncio.wait([following, caught_up], return_when=asyncio.FIRST_COMPLETED)
        if not caught_up.done():
            await following  # raises what ended it
        await caught_up

    def stop(self) -> None:
        """Stop following at the next chance, whoever cancels the task or not: up to Python 3.11, `asyncio.wait_for`
        loses a cancellation that comes with its result."""
        self._is_stopping = True

    async def _follow(self, caught_up: asyncio.Future[None]) -> None:
        topic = self._settings.topics.deployments
        while not self._is_stopping:
            try:
                async with reader(self._settings) as consumer:
                    await _require(consumer, topic)
                    self.deployments = Deployments()
                    partition = TopicPartition(topic, 0)
                    async for _, records in read_to_end(consumer, {partition: None}):
                        self._fold(records)
                    if not consumer.assignment():
                        consumer.assign([partition])  # `read_to_end` assigns no empty partition
                    await self._on_change(self.deployments)
                    if not caught_up.done():
                        caught_up.set_result(None)
                    while not self._is_stopping:
                        for records in (await consumer.getmany(timeout_ms=1000)).values():
                            self._fold(records)
                            await self._on_change(self.deployments)
                        require_tasks(consumer)
            except (KafkaError, OSError, UserError) as error:
                if not caught_up.done():
                    raise
                log.warning("deployments: cannot be read (%s); trying again", error)
                await asyncio.sleep(1.0)

    def _fold(self, records: list[Any]) -> None:
        for record in records:
            before = self.deployments.foreign
            line = self.deployments.fold(record.key, record.value)
            if self.deployments.foreign > before and record.offset > self._said:
                self._said = record.offset  # once, however often the topic is read again
                metrics.FOREIGN.labels(self._settings.topics.deployments).inc()
                log.warning("deployments: passed over the record at offset %d, which is none of ours", record.offset)
            if line is not None and line.is_void:
                log.warning("deployments: entry %s is void, because another one came first", line.seq)
