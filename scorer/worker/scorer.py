"""The scorer: fetch, settle, publish, remember, acknowledge - in that order, a batch and a partition at a time.

For what each fetch brought, a batch for each of some partitions:

1. settle: decode, features, one prediction, encode (a thread; the next fetch is settled while this one is written);
2. publish decisions and dead letters to the same partitions of their topics, and wait for the acknowledgement;
3. write the card states that changed, each with the last source offset it absorbed, and wait again (`scorer.writer`);
4. acknowledge the ranges to Faust, which commits them.

A worker that takes a partition over has the broker refuse its predecessor (`scorer.fence`), reads how far 2 and 3 had
come and goes on from there: what is published is absorbed and not published again. Fetches pass 2 strictly one after
the other, and so 3, while 3 of one goes with 2 of the next; a failed send stops the worker, so no later decision can be
there without an earlier one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from scorer import metrics
from scorer.batches import BatchApp, Owned
from scorer.counting import Counting
from scorer.deployments import SCHEMA, Deployments, encode
from scorer.errors import UserError
from scorer.events import Reading
from scorer.fence import RENEW_SECONDS, FencedProducer
from scorer.fetch import Batch
from scorer.http import Health
from scorer.ledger import Follower, put
from scorer.live import LiveLoader
from scorer.pipeline import Incoming, Part, Rules, settle_all
from scorer.recovery import IN_FLIGHT, Recovered, recover
from scorer.settings import ScorerSettings
from scorer.topics import reader
from scorer.view import FeatureView
from scorer.writer import Partition, Work, Writer

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
COMPUTE = metrics.STAGE.labels("compute")


class Scorer:
    """Handler of the `transactions` partitions of this worker; see `scorer.batches.Handler`."""

    def __init__(
        self, settings: ScorerSettings, view: FeatureView, live: LiveLoader, health: Health, counting: Counting
    ) -> None:
        self.settings, self.view, self.health = settings, view, health
        reading = Reading(settings.money, settings.mapping, view.attributes)
        ahead_ms = int(settings.ahead_seconds * 1000) if settings.clock == "wall" else None
        self._rules = Rules(view, reading, ahead_ms)
        self._live = live
        self._counting = counting
        self._follower = Follower(settings, self._on_deployments)
        self._producer = FencedProducer(settings)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="settle")
        self._writer = Writer(self._producer, settings.topics, self)
        self._partitions: dict[int, Partition] = {}
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_draining = False
        self.app = BatchApp(settings, settings.group, settings.topics.transactions, self)

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self.health.beat(), name="beat")]  # alive, however long Kafka takes
        await self._producer.start(self.settings.require_idempotence)
        if not self._producer.is_idempotent:
            log.warning("the broker has no idempotent producers; a retried send may write a record twice")
        await self._follower.start()
        self._live.require()
        await self._report()
        if self.view.id not in self._follower.deployments.views:
            view = {"names": self.view.names, "definitions": self.view.definitions(self.view.names)}
            await self._tell(f"view/{self.view.id}", orjson.dumps({"schema": SCHEMA, **view}))
        self._tasks += [
            asyncio.create_task(self._write(), name="write"),
            asyncio.create_task(self._tick(), name="tick"),
            asyncio.create_task(self._renew(), name="renew"),
        ]

    async def drain(self) -> None:
        self._is_draining = True
        self.health.not_ready = "stopping"
        for _ in range(IN_FLIGHT):  # whatever is under way has room until it is written, or given up
            await self._room.acquire()
        for _ in range(IN_FLIGHT):
            self._room.release()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._follower.stop()
        try:
            await put(self.settings, {f"worker/{self.settings.worker_id}": None})
        except UserError as error:
            log.warning("could not say goodbye: %s", error)
        await self._producer.stop()
        self._pool.shutdown(wait=False)

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        kept = {o.partition: self._partitions[o.partition] for o in owned if self._is_kept(o)}
        self._partitions = dict(kept)
        started = time.perf_counter()
        fresh = [o for o in owned if o.partition not in kept]
        recovered: dict[int, Recovered] = {}
        await self._producer.take_over([o.partition for o in fresh])
        if fresh:
            async with reader(self.settings) as consumer:
                recovered = await recover(consumer, [o.partition for o in fresh], self.settings)
        for o in fresh:
            start = o.oldest if o.committed is None else o.committed
            if start < o.oldest:
                _say_missed(o.partition, start, o.oldest)
                start = o.oldest
            found = recovered[o.partition]
            self._partitions[o.partition] = Partition(found.states, found.published, start)
        took = time.perf_counter() - started
        log.info("owns %d partitions (%d kept), ready in %.2f s", len(owned), len(kept), took)
        self.health.not_ready = None
        return {o.partition: self._partitions[o.partition].next for o in owned}

    def _is_kept(self, owned: Owned) -> bool:
        part = self._partitions.get(owned.partition)
        return owned.kept and part is not None and not part.is_spoiled and part.next >= (owned.committed or 0)

    async def revoke(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            metrics.LAG.labels(str(partition)).set(0)
            if partition in self._partitions and self._partitions[partition].is_spoiled:
                del self._partitions[partition]

    async def accept(self, batches: Sequence[Batch]) -> None:
        await self._room.acquire()
        try:
            work = await self._settle(batches)
        except BaseException:
            self._room.release()
            raise
        if work is None:
            self._room.release()
        else:
            self._writer.put(work)

    async def _settle(self, batches: Sequence[Batch]) -> Work | None:
        """Decide what a fetch brought; None if nothing of it is ours any more."""
        taken = []
        for batch in batches:
            part = self._partitions.get(batch.partition)
            if part is None or part.is_spoiled or self._is_draining:
                self.app.consumer.drop(batch)
            else:
                await self._count_missed(batch)
                taken.append((batch, part))
        if not taken:
            return None
        model = self._live.require()
        started = time.perf_counter()
        parts = [Part(_incoming(batch), part.states, part.published) for batch, part in taken]
        now_ms = int(time.time() * 1000) if self.settings.clock == "wall" else None
        try:
            settled = await asyncio.get_running_loop().run_in_executor(
                self._pool, settle_all, parts, model, self._rules, now_ms
            )
        except BaseException:
            for _, part in taken:
                part.is_spoiled = True
            raise
        metrics.BATCH_RECORDS.observe(sum(len(batch) for batch, _ in taken))
        COMPUTE.observe(time.perf_counter() - started)
        return Work([(*pair, made) for pair, made in zip(taken, settled, strict=True)], str(model.digest)[:12])

    async def _count_missed(self, batch: Batch) -> None:
        """Offsets may be missing before a batch. Log bookkeeping leaves such holes; where retention did, say so."""
        if batch.offset == batch.expected:
            return
        tp = TopicPartition(batch.topic, batch.partition)
        oldest = (await self.app.consumer.earliest_offsets(tp))[tp]
        if oldest > batch.expected:
            _say_missed(batch.partition, batch.expected, min(oldest, batch.offset))

    async def _write(self) -> None:
        try:
            await self._writer.run()
        except Exception as error:
            await self.app.fail(error)

    async def may_publish(self, work: Work) -> bool:
        return await self.app.surely_ours() and not any(part.is_spoiled for _, part, _ in work.taken)

    def published(self, work: Work) -> None:
        done_s = time.time()
        for batch, _, made in work.taken:
            self._counting.note(made, len(batch), work.bundle, done_s)

    def finished(self, work: Work) -> None:
        for batch, part, _ in work.taken:
            part.next = batch.next
            self.app.consumer.finish(batch)
        self._room.release()

    async def gave_up(self, work: Work, error: Exception | None) -> None:
        """Nothing of a fetch is acknowledged, and nothing after it may be: memory is ahead of the topics now."""
        for batch, part, _ in work.taken:
            part.is_spoiled = True
            self.app.consumer.drop(batch)
        self._room.release()
        if isinstance(error, ProducerFenced):
            self._say_fenced(work, error)
        elif error is not None:
            await self.app.fail(error)

    def _say_fenced(self, work: Work, error: ProducerFenced) -> None:
        """Another scorer has the partitions: the group is about to say so, and then they are taken up anew, or not."""
        n = sum(len(batch) for batch, _, _ in work.taken)
        metrics.FENCED.inc(n)
        partitions = ", ".join(str(batch.partition) for batch, _, _ in work.taken)
        log.warning("fenced: %d transactions of partitions %s are left to the scorer that has them now", n, partitions)
        self._tasks.append(asyncio.create_task(self._expect_rebalance(work, error), name="fenced"))

    async def _expect_rebalance(self, work: Work, error: ProducerFenced) -> None:
        """A scorer that the group still counts in, and whose partitions another writes, is not to stand by for ever."""
        await asyncio.sleep(self.settings.session_seconds)
        if any(self._partitions.get(batch.partition) is part for batch, part, _ in work.taken):
            await self.app.fail(error)

    def _show_lag(self) -> None:
        """Once a second, also while nothing is finished: a worker that hangs shows what waits for it."""
        for partition, part in list(self._partitions.items()):
            end = self.app.consumer.highwater(TP(self.settings.topics.transactions, partition))
            metrics.LAG.labels(str(partition)).set(max(0, (end or part.next) - part.next))

    async def _on_deployments(self, deployments: Deployments) -> None:
        if await self._live.follow(deployments):
            await self._report()

    async def _report(self) -> None:
        if self._live.report is not None:
            await self._tell(f"worker/{self.settings.worker_id}", encode(self._live.report))

    async def _tell(self, key: str, value: bytes) -> None:
        await self._producer.append(self.settings.topics.deployments, key.encode(), value)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._producer.renew(list(self._partitions))
            except KafkaError as error:
                log.warning("the fence was not renewed, to be tried again: %s", error)

    async def _tick(self) -> None:
        while not self._is_draining:
            metrics.CARDS.set(sum(len(part.states) for part in self._partitions.values()))
            metrics.MODEL_AGE.set(self._live.age_seconds)
            self._show_lag()
            if self._live.is_behind:
                await self._on_deployments(self._follower.deployments)
            await asyncio.sleep(TICK_SECONDS)


def _say_missed(partition: int, start: int, end: int) -> None:
    """Retention passed this scorer: transactions from `start` to before `end` are gone, and were never decided."""
    log.error("partition %d: retention took offsets %d to %d undecided", partition, start, end)
    metrics.MISSED.inc(end - start)


def _incoming(batch: Batch) -> Incoming:
    """Records as the pipeline takes them."""
    records, n = batch.records, len(batch)
    return Incoming(
        batch.partition,
        [record.key for record in records],
        [record.value for record in records],
        np.fromiter((record.offset for record in records), np.int64, n),
        np.fromiter((record.timestamp for record in records), np.int64, n),
    )
