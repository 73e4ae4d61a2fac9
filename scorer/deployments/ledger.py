"""The `deployments` topic on the wire: follow it, and append to it knowing whether the entry won."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from scorer.connection import connection, unreachable
from scorer.deployments import SCHEMA, Change, Deployments, Entry, LedgerLine, encode
from scorer.errors import BrokerError, UserError
from scorer.settings import CommonSettings
from scorer.topics import read_to_end, reader

log = logging.getLogger(__name__)


class StaleChangeError(UserError):
    """Somebody else changed a slot first."""


async def read(settings: CommonSettings) -> Deployments:
    """The topic's present fold. Raises BrokerError if the broker or the topic is not there."""
    deployments = Deployments()
    topic = settings.topics.deployments
    async with reader(settings) as consumer:
        await _require(consumer, topic)
        async for _, records in read_to_end(consumer, {TopicPartition(topic, 0): None}):
            for record in records:
                deployments.absorb(record.key, record.value)
    return deployments


async def _require(consumer: AIOKafkaConsumer, topic: str) -> None:
    if topic not in await consumer.topics():
        raise BrokerError(f"topic {topic}: is missing; start a scorer or `scorer deploy` first, they create it")


async def append(settings: CommonSettings, build: Callable[[Deployments], Entry]) -> tuple[LedgerLine, Deployments]:
    """Append the entry that `build` makes of the present state; returns its line and the state after it.

    Raises StaleChangeError if a change lost against another one, and whatever `build` raises.
    """
    deployments = await read(settings)
    entry = build(deployments)
    seq = deployments.next_seq()
    topic = settings.topics.deployments
    await put(settings, {f"ledger/{seq}": encode(entry)})
    after = await read(settings)
    line = next((line for line in after.ledger if line.seq == seq), None)
    if line is None:
        raise BrokerError(f"topic {topic}: an entry was written but is not there; look at the broker's log")
    if line.is_void:
        raise StaleChangeError("somebody else changed a slot at the same moment; look again and repeat the command")
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
    """Write records by key, in order, and wait for their acknowledgement."""
    producer = AIOKafkaProducer(**connection(settings), acks="all", linger_ms=0)
    try:
        await producer.start()
        for key, value in records.items():
            await producer.send_and_wait(settings.topics.deployments, value, key=key.encode(), partition=0)
    except (KafkaError, OSError) as error:
        raise await unreachable(settings, error) from None
    finally:
        await producer.stop()


class Follower:
    """Keeps a fold of the topic up to date; `on_change` is awaited after each chunk of records, and once at first."""

    def __init__(self, settings: CommonSettings, on_change: Callable[[Deployments], Awaitable[None]]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.deployments = Deployments()

    async def start(self) -> None:
        """Read to the end, then go on in the background."""
        caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._follow(caught_up), name="deployments")
        await caught_up

    async def stop(self) -> None:
        """Go on no more. Up to Python 3.11 `asyncio.wait_for` loses a cancellation that comes with its result, so the
        loop is told, too."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self, caught_up: asyncio.Future[None]) -> None:
        topic = self._settings.topics.deployments
        while not self._is_stopping:
            try:
                async with reader(self._settings) as consumer:
                    await _require(consumer, topic)
                    self.deployments = Deployments()
                    partition = TopicPartition(topic, 0)
                    async for _, records in read_to_end(consumer, {partition: None}):
                        self._absorb(records)
                    if not consumer.assignment():
                        consumer.assign([partition])  # nothing is on it yet
                    await self._on_change(self.deployments)
                    if not caught_up.done():
                        caught_up.set_result(None)
                    while not self._is_stopping:
                        for records in (await consumer.getmany(timeout_ms=1000)).values():
                            self._absorb(records)
                            await self._on_change(self.deployments)
            except (KafkaError, OSError, UserError) as error:
                if not caught_up.done():
                    caught_up.set_exception(error)
                    return
                log.warning("deployments: not followed for a moment (%s)", error)
                await asyncio.sleep(1.0)

    def _absorb(self, records: list[Any]) -> None:
        for record in records:
            line = self.deployments.absorb(record.key, record.value)
            if line is not None and line.is_void:
                log.warning("deployments: change %s is void, another one came first", line.seq)
