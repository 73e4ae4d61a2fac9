"""A member of a group that notes what comes to it: a real app with a handler for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from harness.patience import PATIENCE_SECONDS
from scorer.settings import ScorerSettings
from scorer.streaming.app import BatchApp, Owned, SupersededError
from scorer.streaming.fetch import Batch

GROUP, TOPIC, PARTITIONS = "group", "transactions", 2


class Recorder:
    """A handler that notes what comes, and finishes batches when it is told to. is_kept: its worker does not end when
    it is told to by another thread."""

    is_kept = False

    def __init__(self, settings: ScorerSettings) -> None:
        self.batches: list[Batch] = []
        self.open: list[Batch] = []
        self.assigned: list[list[Owned]] = []
        self.revoked: list[frozenset[int]] = []
        self.waits_for_me = False  # batches stay open until `finish_all`
        self.from_oldest = False  # read every partition from its first record, whatever is committed
        self.loading = asyncio.Event()  # assignments wait for this
        self.loading.set()
        self.passing = asyncio.Event()  # batches wait for this before they are taken
        self.passing.set()
        self.is_overtaken = False  # the next assignment finds that another worker took over
        self.app = BatchApp(settings, GROUP, TOPIC, self)
        self.exits: list[int] = []  # what this process would have ended with
        if self.app.watchdog is not None:
            self.app.watchdog.end_process = self.exits.append
        self.ends: list[BaseException] = []  # what the worker would have ended for, if it is kept
        if self.is_kept:
            self.app.end = self.ends.append  # type: ignore[method-assign, assignment]

    async def start(self) -> None: ...

    async def drain(self) -> None:
        self.finish_all()

    async def close(self) -> None: ...

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        self.assigned.append(list(owned))
        await self.loading.wait()
        if self.is_overtaken:
            self.is_overtaken = False
            raise SupersededError("somebody else was quicker")
        again = self.from_oldest
        return {o.partition: o.oldest if again or o.committed is None else o.committed for o in owned}

    async def accept(self, batches: Sequence[Batch]) -> None:
        await self.passing.wait()
        self.batches += batches
        self.open += batches
        if not self.waits_for_me:
            self.finish_all()

    async def revoke(self, partitions: frozenset[int]) -> None:
        if partitions:  # joining revokes nothing
            self.revoked.append(partitions)

    patient_until = 0.0

    def signs(self) -> object:
        return None

    def finish_all(self) -> None:
        for batch in self.open:
            self.app.consumer.finish(batch)
        self.open.clear()

    @property
    def offsets(self) -> list[tuple[int, int]]:
        return [(batch.partition, record.offset) for batch in self.batches for record in batch.records]


_RUNNING: list[Recorder] = []


@asynccontextmanager
async def running(settings: ScorerSettings) -> AsyncIterator[Recorder]:
    recorder = Recorder(settings)
    _RUNNING.append(recorder)
    starting = asyncio.create_task(recorder.app.start())  # ends only once the group is joined
    try:
        yield recorder
    finally:
        for other in _RUNNING:  # one that holds a batch holds up every join
            other.loading.set()
            other.passing.set()
            other.waits_for_me = False
            other.finish_all()
        await starting
        await recorder.app.stop()
        _RUNNING.remove(recorder)


async def until(what: str, holds: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)
    assert holds(), what


async def make_topic(settings: ScorerSettings) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await client.start()
    await client.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    await client.close()


async def send(settings: ScorerSettings, n: int, partition: int = 0) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, linger_ms=0)
    await producer.start()
    waiting = [await producer.send(TOPIC, b"%d" % i, partition=partition) for i in range(n)]
    await asyncio.gather(*waiting)
    await producer.stop()


@asynccontextmanager
async def delivered(settings: ScorerSettings, n: int) -> AsyncIterator[Recorder]:
    """A worker that has got n records, and finished them."""
    await make_topic(settings)
    await send(settings, n)
    async with running(settings) as worker:
        await until("batches", lambda: len(worker.offsets) == n)
        yield worker
