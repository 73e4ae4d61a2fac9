"""The scorer: fetch, settle, publish, remember, acknowledge - in that order, a batch and a partition at a time.

For each batch of a partition:

1. settle: decode, features, one prediction, encode (a thread; the next batch is settled while this one is written);
2. publish decisions and dead letters to the same partition of their topics, and wait for the acknowledgement;
3. write the card states that changed, each with the last source offset it absorbed, and wait again;
4. acknowledge the range to Faust, which commits it.

A worker that takes a partition over reads how far 2 and 3 had come and goes on from there: what is published is
absorbed and not published again. Batches of a partition pass 2 and 3 strictly one after the other; a failed send stops
the worker, so no later decision can be there without an earlier one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import orjson
from faust.types import TP

from scorer import metrics
from scorer.batches import Batch, BatchApp, Owned
from scorer.deployments import SCHEMA, Deployments, encode
from scorer.errors import UserError
from scorer.events import Reading
from scorer.http import Health
from scorer.ledger import Follower, put
from scorer.live import LiveLoader
from scorer.pipeline import Incoming, Published, Rules, Settled, settle
from scorer.producer import BatchProducer
from scorer.recovery import Recovered, recover
from scorer.settings import ScorerSettings
from scorer.topics import reader
from scorer.velocity import CardStates
from scorer.view import FeatureView

log = logging.getLogger(__name__)

#: Batches of a partition that may be settled and not yet acknowledged.
IN_FLIGHT = 2
TICK_SECONDS = 1.0


@dataclass
class _Partition:
    """What a worker keeps of a partition it owns."""

    states: CardStates
    published: Published
    next: int
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))
    writing: asyncio.Task[None] | None = None
    is_spoiled: bool = False  # memory is ahead of the topics: a batch was settled and given up


class Scorer:
    """Handler of the `transactions` partitions of this worker; see `scorer.batches.Handler`."""

    def __init__(self, settings: ScorerSettings, view: FeatureView, live: LiveLoader, health: Health) -> None:
        self.settings, self.view, self.health = settings, view, health
        reading = Reading(settings.money, settings.mapping, view.attributes)
        ahead_ms = int(settings.ahead_seconds * 1000) if settings.clock == "wall" else None
        self._rules = Rules(view, reading, ahead_ms)
        self._live = live
        self._follower = Follower(settings, self._on_deployments)
        self._producer = BatchProducer(settings, settings.compression)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="settle")
        self._partitions: dict[int, _Partition] = {}
        self._ticks: asyncio.Task[None] | None = None
        self._is_draining = False
        self.app = BatchApp(settings, settings.group, settings.topics.transactions, self)

    async def start(self) -> None:
        await self._producer.start(self.settings.require_idempotence)
        if not self._producer.is_idempotent:
            log.warning("the broker has no idempotent producers; a retried send may write a record twice")
        await self._follower.start()
        self._live.require()
        await self._report()
        if self.view.id not in self._follower.deployments.views:
            view = {"names": self.view.names, "definitions": self.view.definitions(self.view.names)}
            await self._tell(f"view/{self.view.id}", orjson.dumps({"schema": SCHEMA, **view}))
        self._ticks = asyncio.create_task(self._tick(), name="tick")

    async def drain(self) -> None:
        self._is_draining = True
        self.health.not_ready = "stopping"
        writing = [part.writing for part in self._partitions.values() if part.writing is not None]
        await asyncio.gather(*writing, return_exceptions=True)

    async def close(self) -> None:
        if self._ticks is not None:
            self._ticks.cancel()
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
        if fresh:
            async with reader(self.settings) as consumer:
                recovered = await recover(consumer, [o.partition for o in fresh], self.settings)
        for o in fresh:
            start = o.oldest if o.committed is None else o.committed
            if start < o.oldest:
                log.error("partition %d: retention took offsets %d to %d undecided", o.partition, start, o.oldest)
                metrics.MISSED.inc(o.oldest - start)
                start = o.oldest
            found = recovered[o.partition]
            self._partitions[o.partition] = _Partition(found.states, found.published, start)
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

    async def accept(self, batch: Batch, finish: Callable[[], None]) -> None:
        part = self._partitions.get(batch.partition)
        if part is None or part.is_spoiled or self._is_draining:
            self.app.consumer.drop(batch)
            return
        await part.room.acquire()
        model = self._live.require()
        started = time.perf_counter()
        incoming = Incoming(
            batch.partition,
            [record.key for record in batch.records],
            [record.value for record in batch.records],
            np.array([record.offset for record in batch.records], dtype=np.int64),
            np.array([record.timestamp for record in batch.records], dtype=np.int64),
        )
        now_ms = int(time.time() * 1000) if self.settings.clock == "wall" else None
        settled = await asyncio.get_running_loop().run_in_executor(
            self._pool, settle, incoming, part.states, part.published, model, self._rules, now_ms
        )
        metrics.BATCH_RECORDS.observe(len(batch))
        metrics.STAGE.labels("compute").observe(time.perf_counter() - started)
        part.writing = asyncio.create_task(
            self._write(part, part.writing, settled, batch, finish, str(model.digest)[:12]),
            name=f"write-{batch.partition}",
        )

    async def _write(
        self,
        part: _Partition,
        before: asyncio.Task[None] | None,
        settled: Settled,
        batch: Batch,
        finish: Callable[[], None],
        bundle: str,
    ) -> None:
        topics, p = self.settings.topics, batch.partition
        try:
            if before is not None:
                await before
            if part.is_spoiled or not await self.app.surely_ours():
                part.is_spoiled = True
                self.app.consumer.drop(batch)
                return
            started = time.perf_counter()
            await asyncio.gather(
                self._producer.write(topics.decisions, p, settled.decisions),
                self._producer.write(topics.rejected, p, settled.rejected, settled.headers),
            )
            published = time.perf_counter()
            await self._producer.write(topics.velocity, p, settled.states)
            part.next = batch.next
            finish()
            metrics.STAGE.labels("publish").observe(published - started)
            metrics.STAGE.labels("state").observe(time.perf_counter() - published)
            self._count(settled, batch, bundle)
        except Exception as error:
            part.is_spoiled = True
            self.app.consumer.drop(batch)
            await self.app.fail(error)
        finally:
            part.room.release()

    def _count(self, settled: Settled, batch: Batch, bundle: str) -> None:
        metrics.TRANSACTIONS.inc(len(batch))
        blocked = int(settled.blocks.sum())
        metrics.DECISIONS.labels("block", bundle).inc(blocked)
        metrics.DECISIONS.labels("allow", bundle).inc(len(settled.blocks) - blocked)
        metrics.SCORES.observe(settled.scores, bundle)
        for name in settled.fields:
            metrics.REJECTED.labels(name).inc()
        metrics.REPEATS.inc(settled.repeats)
        metrics.MISKEYED.inc(settled.miskeyed)
        metrics.UNTRUSTED.inc(settled.untrusted)
        known = settled.appended_ms[settled.appended_ms > 0]
        metrics.END_TO_END.observe(time.time() - known / 1000.0)
        end = self.app.consumer.highwater(TP(batch.topic, batch.partition))
        metrics.LAG.labels(str(batch.partition)).set(max(0, (end or batch.next) - batch.next))

    async def _on_deployments(self, deployments: Deployments) -> None:
        if await self._live.follow(deployments):
            await self._report()

    async def _report(self) -> None:
        if self._live.report is not None:
            await self._tell(f"worker/{self.settings.worker_id}", encode(self._live.report))

    async def _tell(self, key: str, value: bytes) -> None:
        await self._producer.append(self.settings.topics.deployments, key.encode(), value)

    async def _tick(self) -> None:
        while True:
            self.health.beat()
            metrics.CARDS.set(sum(len(part.states) for part in self._partitions.values()))
            metrics.MODEL_AGE.set(self._live.age_seconds)
            if self._live.is_behind:
                await self._on_deployments(self._follower.deployments)
            await asyncio.sleep(TICK_SECONDS)
