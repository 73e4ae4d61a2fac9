"""The shadow of one slot: fetches live decisions, compares, sums in memory, and writes the sums to Redis.

For each partition:

1. on assignment, read its fence in Redis and continue from there (the group's commits only show the lag);
2. take batches: score the snapshots with the candidate, compare, add to the sums (in a thread); of what was published
   before the slot was filled, nothing is compared;
3. every `flush_seconds` or `flush_records`, write the sums and move the fence in one script, then acknowledge.

Decisions whose sums were not written are read again: by this worker, by the next owner, or after Redis lost writes.
While Redis is unavailable, sums grow up to `flush_records`; then reading stops.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from faust.types import TP

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import Follower
from scorer.deployments.slots import Deployments
from scorer.errors import CurrencyError, UserError
from scorer.pipeline.money import Currency
from scorer.process.computing import Computing
from scorer.process.health import Health
from scorer.process.tasks import Tasks
from scorer.streaming.app import BatchApp, Owned
from scorer.streaming.fetch import Batch
from shadow import metrics
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment, add
from shadow.comparison.resets import CRITERIA
from shadow.gate.criteria import Release
from shadow.settings import ShadowSettings
from shadow.store.connection import AWAY, connect
from shadow.store.tallies import TallyStore
from shadow.worker.candidate import Candidate, SlotFollower
from shadow.worker.counting import Counting
from shadow.worker.explain import Explainer
from shadow.worker.niceness import stand_back
from shadow.worker.partitions import Partition, Partitions

log = logging.getLogger(__name__)

#: Share of `explain_per_second` while the shadow lags by more than a batch: explanations take time from comparing.
BEHIND_SHARE = 0.1
#: Time between two log lines while no scorer has published the reporting currency.
CURRENCY_SECONDS = 10.0
#: Time between two looks at whether a batch still has to wait for the bundle.
LOAD_SECONDS = 0.5
#: Time between two checks that Redis still holds the fences of idle partitions.
CHECK_SECONDS = 5.0


class Shadow:
    """Compares the `decisions` partitions of this worker; a `scorer.streaming.app.Handler`."""

    def __init__(self, settings: ShadowSettings, slot: str, release: Release, health: Health) -> None:
        self.settings, self.slot, self.health = settings, slot, health
        self._segments = release.segments
        self._release = release
        self._currency: Currency | None = None
        self._has_currency = asyncio.Event()
        self._criteria = release.digest
        place = settings.store, settings.cache, settings.store_seconds
        self._model = SlotFollower(slot, BundleStore(*place, settings.predictor))
        self._follower = Follower(settings, self._on_deployments)
        names = self._segments.names
        self._store = TallyStore(
            connect(settings.redis), slot, names, settings.prefix, settings.sample_days, settings.label_days
        )
        self._explainer = Explainer(BundleStore(*place))
        self._pool = Computing("absorb")
        self._tasks = Tasks(self._task_ended)
        self._is_closed = False
        self._waited = 0  # times that a batch had to wait for the bundle or for the reporting currency
        self.app = BatchApp(settings, f"{settings.group_prefix}{slot}", settings.topics.decisions, self)
        self._counting = Counting(slot, names)
        self._partitions = Partitions(self.app, settings.topics.decisions, slot, self._store, self._counting)

    async def start(self) -> None:
        stand_back(self.settings.niceness)
        self._tasks.start(self.health.beat(), "beat")  # healthy, however long Kafka takes
        metrics.begin(self.slot)
        await self._follower.start(self._tasks.start)
        self._tasks.start(self._model.try_again(), "bundle")
        self._tasks.start(self._tick(), "tick")
        self._tasks.start(self._explain(), "why")

    async def drain(self) -> None:
        self._partitions.is_draining = True
        self.health.not_ready = "stopping"
        flushes = (self._partitions.flush(p, part) for p, part in self._partitions.owned.items())
        await asyncio.gather(*flushes, return_exceptions=True)

    async def close(self) -> None:
        self._is_closed = True
        self._follower.stop()
        await self._tasks.stop()
        await self._store.redis.aclose()
        self._pool.shutdown(wait=False)

    async def _task_ended(self, error: Exception) -> None:
        if not self._is_closed:
            await self.app.fail(error)

    async def _on_deployments(self, deployments: Deployments) -> None:
        try:
            self._currency = deployments.currency
        except CurrencyError as error:
            await self.app.fail(error)
            return
        if self._currency is not None:
            self._has_currency.set()
        await self._model.follow(deployments)
        self._explainer.views = deployments.views

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        mine = self._partitions.owned = {}
        for o in owned:
            mine[o.partition] = await self._partitions.open(o.partition, o.oldest)
        log.info("slot %s: owns %d partitions", self.slot, len(owned))
        self.health.not_ready = None
        return {p: part.position for p, part in mine.items()}

    @property
    def patient_until(self) -> float:
        return self._partitions.patient_until(self.settings.flush_seconds)

    def signs(self) -> Any:
        return self._pool.cpu_ticks, self._waited, self._partitions.opened, self._partitions.redis_errors

    async def revoke(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            self._partitions.owned.pop(partition, None)

    async def accept(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        parts = self._partitions
        is_current = await self._is_current()
        part = parts.owned.get(batch.partition)
        if part is None or parts.is_draining or batch.turn != part.turn or not is_current:
            parts.drop(batch)
            return
        if batch.expected != part.position:  # a batch before it was dropped; the fence must not skip that one
            parts.drop(batch)
            log.warning(
                "partition %d: expected offset %d, got %d; reading again",
                batch.partition,
                part.position,
                batch.expected,
            )
            part.turn = self.app.consumer.rewind(TP(batch.topic, batch.partition), part.position)
            return
        if batch.offset > batch.expected and not await parts.is_whole(part, batch):
            return
        currency = await self._known_currency()
        if currency is None:
            parts.drop(batch)
            return
        part.position = batch.next
        self._counting.took(batch)
        started = time.perf_counter()
        increment = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._absorb, batch, part, self._model.candidate, currency
        )
        metrics.STAGE.labels(self.slot, "compute").observe(time.perf_counter() - started)
        if part is not parts.owned.get(batch.partition) or part.position != batch.next:
            parts.drop(batch)  # the partition was opened again meanwhile
            return
        part.gather(batch, increment)
        if parts.is_draining or part.records >= self.settings.flush_records:
            await parts.flush(batch.partition, part)

    async def _is_current(self) -> bool:
        """Wait until what the slot holds is loaded: a run has all decisions since its slot was filled, however long the
        bundle takes. False if the worker stops or a rebalance begins before that."""
        current = self._model.is_current
        while not (current.is_set() or self._partitions.is_draining or self.app.rebalancing):
            with suppress(TimeoutError):
                await asyncio.wait_for(current.wait(), LOAD_SECONDS)
            self._waited += 1
        return current.is_set()

    async def _known_currency(self) -> Currency | None:
        """The reporting currency; waits until a scorer has published it. None if the worker stops before that."""
        waited = 0.0
        while self._currency is None and not self._partitions.is_draining:
            if not waited % CURRENCY_SECONDS:
                log.warning("slot %s: no feature view on topic deployments states its currency; waiting", self.slot)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_currency.wait(), CURRENCY_SECONDS / 10)
            waited += CURRENCY_SECONDS / 10
            self._waited += 1
        return self._currency

    def _absorb(self, batch: Batch, part: Partition, candidate: Candidate | None, currency: Currency) -> Increment:
        """The increment of a batch; runs in the thread. Decisions before the fence are remembered, not counted."""
        values, offsets = [r.value for r in batch.records], [r.offset for r in batch.records]
        decisions, unreadable = read(values, offsets, batch.partition)
        before = decisions.offsets < part.fence.next
        if before.any():
            part.memory.remember(decisions.take(np.flatnonzero(before)))
            decisions = decisions.take(np.flatnonzero(~before))
        money = currency.minor_per_unit, self._release.cap_minor(currency.minor_per_unit)
        given = self._segments, part.taus, *money
        increment = Increment()
        if candidate is not None:
            early = decisions.offsets < part.begins(batch, candidate.epoch, candidate.since_ms)
            if early.any():
                increment = absorb(decisions.take(np.flatnonzero(early)), None, part.memory, *given)
                decisions = decisions.take(np.flatnonzero(~early))
        add(increment, absorb(decisions, candidate, part.memory, *given))
        for marks in increment.marks.values():
            marks[CRITERIA] = self._criteria
        increment.unreadable += sum(offset >= part.fence.next for offset in unreadable)
        return increment

    async def _tick(self) -> None:
        checked = time.monotonic()
        while not self._is_closed:  # a cancellation may get lost in `asyncio.wait_for`, which the Redis client uses
            try:
                await self._partitions.flush_due(self.settings.flush_seconds)
                if time.monotonic() - checked >= CHECK_SECONDS:
                    checked = time.monotonic()
                    await self._partitions.check()
            except Exception as error:
                await self.app.fail(error)
            candidate = self._model.candidate
            if candidate is not None and candidate.bundle is not None:
                metrics.MODEL_AGE.labels(self.slot).set(time.time() - candidate.bundle.manifest.counts_from.timestamp())
            await asyncio.sleep(self.settings.flush_seconds / 5)

    async def _explain(self) -> None:
        while not self._is_closed:
            partitions = list(self._partitions.owned)
            is_behind = self._counting.is_behind(partitions, self.settings.batch_records)
            share = BEHIND_SHARE if is_behind else 1.0
            try:
                await self._explainer.explain_some(
                    self._store, partitions, int(self.settings.explain_per_second * share)
                )
            except (*AWAY, UserError) as error:
                log.warning("cannot explain samples, trying again: %s", error)
            await asyncio.sleep(1.0)
