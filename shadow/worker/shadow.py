"""The shadows of one or several slots: fetch live decisions, compare, sum in memory, and write the sums to Redis.

For each partition and slot:

1. on assignment, read the slot's fence in Redis and continue from there (the group's commits only show the lag);
2. take batches: score the snapshots with the candidate, compare, add to the sums (in a thread); of what was published
   before the slot was filled, nothing is compared;
3. every `flush_seconds` or `flush_records`, write the sums and move the fence in one script, then acknowledge.

Slots of one worker share what is read and decoded (`shadow.worker.reading`), and nothing else: each has a fence of its
own, from which a partition is read again for it while the others pass over what they have.

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
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment
from shadow.gate.criteria import Release
from shadow.settings import ShadowSettings, together
from shadow.store.connection import AWAY, connect
from shadow.worker.explain import Explainer
from shadow.worker.niceness import stand_back
from shadow.worker.reading import Reading
from shadow.worker.slot_worker import Share, SlotWorker

log = logging.getLogger(__name__)

#: Share of `explain_per_second` while a partition lags by more than so many records: an explanation takes as long as
#: comparing a hundred decisions, and a sample that somebody looks at is explained at once.
BEHIND_SHARE, BEHIND_RECORDS = 0.02, 2_500
#: Time between two log lines while no scorer has published the reporting currency.
CURRENCY_SECONDS = 10.0
#: Time between two looks at whether a batch still has to wait for the bundle.
LOAD_SECONDS = 0.5
#: Time between two checks that Redis still holds the fences of idle partitions.
CHECK_SECONDS = 5.0


class Shadow:
    """Compares the `decisions` partitions of this worker, for each of its slots; a `scorer.streaming.app.Handler`."""

    def __init__(self, settings: ShadowSettings, slots: Sequence[str], release: Release, health: Health) -> None:
        self.settings, self.health = settings, health
        self._currency: Currency | None = None
        self._has_currency = asyncio.Event()
        self._follower = Follower(settings, self._on_deployments)
        self._redis = connect(settings.redis)
        self._pool = Computing("absorb")
        self._tasks = Tasks(self._task_ended)
        self._is_closed = self._is_draining = False
        self._waited = 0  # times that a batch had to wait for a bundle or for the reporting currency
        self.app = BatchApp(settings, settings.group_prefix + together(slots), settings.topics.decisions, self)
        self._reading = Reading(self.app, settings.topics.decisions, slots)
        place = settings.store, settings.cache, settings.store_seconds
        bundles = BundleStore(*place, settings.predictor)
        self._slots = [SlotWorker(settings, slot, release, self._reading, self._redis, bundles) for slot in slots]
        self._explainer = Explainer(BundleStore(*place), slots=len(slots))

    async def start(self) -> None:
        stand_back(self.settings.niceness)
        self._tasks.start(self.health.beat(), "beat")  # healthy, however long Kafka takes
        for one in self._slots:
            metrics.begin(one.slot)
        await self._follower.start(self._tasks.start)
        for one in self._slots:
            self._tasks.start(one.model.try_again(), f"bundle of {one.slot}")
            self._tasks.start(self._tick(one), f"tick of {one.slot}")
        self._tasks.start(self._explain(), "why")

    async def drain(self) -> None:
        self._is_draining = True
        self.health.not_ready = "stopping"
        for one in self._slots:
            one.partitions.is_draining = True
        flushes = (one.partitions.flush(p, part) for one in self._slots for p, part in one.partitions.owned.items())
        await asyncio.gather(*flushes, return_exceptions=True)

    async def close(self) -> None:
        self._is_closed = True
        self._follower.stop()
        await self._tasks.stop()
        await self._redis.aclose()
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
        await asyncio.gather(*(one.model.follow(deployments) for one in self._slots))
        self._explainer.views = deployments.views

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        found = await asyncio.gather(*(one.assign(owned) for one in self._slots))
        log.info("%s: owns %d partitions", self._named, len(owned))
        self.health.not_ready = None
        return {o.partition: min(positions[o.partition] for positions in found) for o in owned}

    @property
    def _named(self) -> str:
        return " and ".join(f"slot {one.slot}" for one in self._slots)

    @property
    def patient_until(self) -> float:
        return max(one.partitions.patient_until(self.settings.flush_seconds) for one in self._slots)

    def signs(self) -> Any:
        parts = [one.partitions for one in self._slots]
        return self._pool.cpu_ticks, self._waited, [(part.opened, part.redis_errors) for part in parts]

    async def revoke(self, partitions: frozenset[int]) -> None:
        for one in self._slots:
            for partition in partitions:
                one.partitions.owned.pop(partition, None)

    async def accept(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        self._reading.take(batch)
        current = await self._current()
        if self._is_draining or not current or self._reading.is_outdated(batch):
            self._drop(batch)
            return
        currency = await self._known_currency()
        if currency is None:
            self._drop(batch)
            return
        for one in self._slots:
            if one not in current:
                one.partitions.pass_over(batch)
        shares = [(one, share) for one in current if (share := await one.take(batch)) is not None]
        if not shares:
            return
        loop = asyncio.get_running_loop()
        increments = await loop.run_in_executor(self._pool, self._absorb, batch, shares, currency)
        for (one, share), increment in zip(shares, increments, strict=True):
            await one.gather(share, increment, self.settings.flush_records)

    def _drop(self, batch: Batch) -> None:
        for one in self._slots:
            one.partitions.drop(batch)

    async def _current(self) -> list[SlotWorker]:
        """Wait until what the slots hold is loaded: a run has all decisions since its slot was filled, however long the
        bundle takes. The others do not wait for a slot whose bundle cannot be had. None of them if the worker stops or
        a rebalance begins before that."""
        while not (self._is_draining or self.app.rebalancing):
            current = [one for one in self._slots if one.model.is_current.is_set()]
            awaited = [one for one in self._slots if one not in current and not (current and one.model.is_away)]
            if not awaited:
                return current
            with suppress(TimeoutError):
                await asyncio.wait_for(awaited[0].model.is_current.wait(), LOAD_SECONDS)
            self._waited += 1
        return []

    async def _known_currency(self) -> Currency | None:
        """The reporting currency; waits until a scorer has published it. None if the worker stops before that."""
        waited = 0.0
        while self._currency is None and not self._is_draining:
            if not waited % CURRENCY_SECONDS:
                log.warning("%s: no feature view on topic deployments states its currency; waiting", self._named)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_currency.wait(), CURRENCY_SECONDS / 10)
            waited += CURRENCY_SECONDS / 10
            self._waited += 1
        return self._currency

    def _absorb(
        self, batch: Batch, shares: Sequence[tuple[SlotWorker, Share]], currency: Currency
    ) -> Sequence[Increment]:
        """The increment of each share of a batch; runs in the thread. What is decoded is decoded once."""
        started = time.perf_counter()
        values, offsets = [r.value for r in batch.records], [r.offset for r in batch.records]
        decisions, unreadable = read(values, offsets, batch.partition)
        shared = (time.perf_counter() - started) / len(shares)
        increments = []
        for one, share in shares:
            started = time.perf_counter()
            increments.append(one.absorb(share, decisions, unreadable, currency))
            metrics.STAGE.labels(one.slot, "compute").observe(shared + time.perf_counter() - started)
        return increments

    async def _tick(self, one: SlotWorker) -> None:
        checked = time.monotonic()
        while not self._is_closed:  # a cancellation may get lost in `asyncio.wait_for`, which the Redis client uses
            try:
                if one.model.is_current.is_set():
                    one.partitions.catch_up()
                await one.partitions.flush_due(self.settings.flush_seconds)
                if time.monotonic() - checked >= CHECK_SECONDS:
                    checked = time.monotonic()
                    await one.partitions.check()
            except Exception as error:
                await self.app.fail(error)
            one.note_age(time.time())
            await asyncio.sleep(self.settings.flush_seconds / 5)

    async def _explain(self) -> None:
        while not self._is_closed:
            for one in self._slots:
                await self._explain_some(one)
            await asyncio.sleep(1.0)

    async def _explain_some(self, one: SlotWorker) -> None:
        partitions = list(one.partitions.owned)
        is_behind = one.counting.is_behind(partitions, BEHIND_RECORDS)
        share = BEHIND_SHARE if is_behind else 1.0
        try:
            await self._explainer.explain_some(one.store, partitions, int(self.settings.explain_per_second * share))
        except (*AWAY, UserError) as error:
            log.warning("slot %s: cannot explain samples, trying again: %s", one.slot, error)
