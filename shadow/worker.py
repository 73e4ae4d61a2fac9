"""The shadow of one slot: fetch decisions, compare, sum in memory, and move each partition's fence in Redis.

For each partition:

1. on assignment, read the fence in Redis and go on from there; the group's commit is for lag only;
2. absorb batches: score the snapshots with the candidate, compare, add up (a thread);
3. every half second or 50,000 records, apply the range since the fence with one script, then acknowledge its batches.

What is not applied is simply read again: by this worker, by the next, or after Redis went back in time. While Redis is
away, sums grow to their bound, then nothing more is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from aiokafka import TopicPartition
from faust.types import TP

from scorer.batches import BatchApp, Owned
from scorer.deployments import Deployments
from scorer.errors import UserError
from scorer.fetch import Batch
from scorer.http import Health
from scorer.ledger import Follower
from scorer.store import BundleStore
from shadow import metrics
from shadow.absorb import Memory, absorb
from shadow.advance import Advance, add
from shadow.candidate import Candidate, SlotFollower
from shadow.clean import CRITERIA
from shadow.connection import AWAY, connect
from shadow.criteria import Release
from shadow.decisions import read
from shadow.explain import Explainer
from shadow.samples import Stratum
from shadow.settings import ShadowSettings
from shadow.standback import stand_back
from shadow.store import Applied, Fence, TallyStore, Wiped
from shadow.tally import ALL, OUTCOMES

log = logging.getLogger(__name__)

#: Decisions before the fence that are read again, only to know their scores.
LOOK_BACK = 4000
RETRY_SECONDS = 0.5
#: Of the samples that are explained otherwise, while there is more than a batch to catch up: each takes 1 to 3 ms.
BEHIND_SHARE = 0.1
#: How often an idle partition asks whether Redis still has what was applied.
CHECK_SECONDS = 5.0


@dataclass
class _Partition:
    """What a worker keeps of a partition it owns. position: the next decision that is to come, in this turn."""

    fence: Fence
    position: int
    memory: Memory
    taus: dict[Stratum, float]
    turn: int
    pending: Advance = field(default_factory=Advance)
    reached: int = 0  # the offset up to which `pending` goes
    waiting: list[Batch] = field(default_factory=list)
    since: float = 0.0  # when the oldest of `waiting` came
    flushing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shadow:
    """Handler of the `decisions` partitions of this worker; see `scorer.batches.Handler`."""

    def __init__(self, settings: ShadowSettings, slot: str, release: Release, health: Health) -> None:
        self.settings, self.slot, self.health = settings, slot, health
        self._segments = release.segments
        self._minor_per_unit = 10.0**settings.minor_digits
        self._criteria = release.digest
        self._cap_minor = release.cap_minor(self._minor_per_unit)
        bundles = BundleStore(settings.store, settings.cache)
        self._model = SlotFollower(slot, bundles)
        self._follower = Follower(settings, self._on_deployments)
        self._store = TallyStore(
            connect(settings.redis),
            slot,
            self._segments.names,
            settings.prefix,
            settings.sample_days,
            settings.label_days,
        )
        self._explainer = Explainer(bundles)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="absorb")
        self._partitions: dict[int, _Partition] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lag: dict[int, int] = {}
        self._is_draining = self._is_closed = False
        self.app = BatchApp(settings, f"{settings.group_prefix}{slot}", settings.topics.decisions, self)

    async def start(self) -> None:
        stand_back(self.settings.niceness)
        self._tasks = [asyncio.create_task(self.health.beat(), name="beat")]  # alive, however long Kafka takes
        metrics.begin(self.slot)
        await self._follower.start()
        self._tasks += [
            asyncio.create_task(self._tick(), name="tick"),
            asyncio.create_task(self._explain(), name="why"),
        ]

    async def drain(self) -> None:
        self._is_draining = True
        self.health.not_ready = "stopping"
        await asyncio.gather(*(self._flush(p, part) for p, part in self._partitions.items()), return_exceptions=True)

    async def close(self) -> None:
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._follower.stop()
        await self._store.redis.aclose()
        self._pool.shutdown(wait=False)

    async def _on_deployments(self, deployments: Deployments) -> None:
        await self._model.follow(deployments)
        self._explainer.views = deployments.views

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        self._partitions = {}
        for o in owned:
            self._partitions[o.partition] = await self._patiently(partial(self._open, o.partition, o.oldest))
        log.info("slot %s: owns %d partitions", self.slot, len(owned))
        self.health.not_ready = None
        return {p: part.position for p, part in self._partitions.items()}

    async def revoke(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)

    async def _patiently(self, call: Callable[[], Any]) -> Any:
        """Repeat a call to Redis until it succeeds; nothing is read meanwhile."""
        while True:
            try:
                return await call()
            except AWAY as error:
                metrics.REDIS_ERRORS.labels(self.slot).inc()
                log.warning("redis is away, waiting: %s", error)
                if self.app.should_stop:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _open(self, partition: int, oldest: int) -> _Partition:
        fence = await self._store.open_partition(partition, oldest)
        if fence.is_new:
            log.info("slot %s: partition %d is new in redis, from offset %d", self.slot, partition, oldest)
        if fence.next < oldest:
            log.error("partition %d: retention took decisions %d to %d unread", partition, fence.next, oldest)
            await self._store.record_gap(partition, fence, oldest)
            metrics.GAPS.labels(self.slot).inc(oldest - fence.next)
            fence = await self._store.open_partition(partition, oldest)
        start = max(oldest, fence.next - LOOK_BACK)
        turn = self.app.consumer.turns[TP(self.settings.topics.decisions, partition)]
        return _Partition(fence, start, Memory(), await self._store.taus(partition), turn, reached=fence.next)

    async def accept(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            await self._take(batch)

    async def _take(self, batch: Batch) -> None:
        part = self._partitions.get(batch.partition)
        if part is None or self._is_draining or batch.turn != part.turn:
            self.app.consumer.drop(batch)
            return
        if batch.expected != part.position:  # one before it was given up on its way; a fence must not pass over it
            self.app.consumer.drop(batch)
            log.warning("partition %d: %d came instead of %d", batch.partition, batch.expected, part.position)
            part.turn = self.app.consumer.rewind(TP(batch.topic, batch.partition), part.position)
            return
        if batch.offset > batch.expected and not await self._is_whole(part, batch):
            return
        part.position = batch.next
        metrics.BATCH_RECORDS.labels(self.slot).observe(len(batch))
        metrics.DECISIONS.labels(self.slot).inc(len(batch))
        started = time.perf_counter()
        more = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._absorb, batch, part, self._model.candidate
        )
        metrics.STAGE.labels(self.slot, "compute").observe(time.perf_counter() - started)
        if part is not self._partitions.get(batch.partition) or part.position != batch.next:
            self.app.consumer.drop(batch)  # the partition was opened anew meanwhile
            return
        add(part.pending, more)
        part.reached = max(part.reached, batch.next)
        part.since = part.since or time.monotonic()
        part.waiting.append(batch)
        if self._is_draining or sum(map(len, part.waiting)) >= self.settings.flush_records:
            await self._flush(batch.partition, part)

    async def _is_whole(self, part: _Partition, batch: Batch) -> bool:
        """Offsets are missing before a batch. Log bookkeeping leaves such holes; where retention did, say so."""
        tp = TopicPartition(batch.topic, batch.partition)
        oldest = (await self.app.consumer.earliest_offsets(tp))[tp]
        if oldest <= batch.expected:
            return True
        self.app.consumer.drop(batch)
        await self._flush(batch.partition, part)
        await self._reopen(batch.partition, oldest)
        return False

    def _absorb(self, batch: Batch, part: _Partition, candidate: Candidate | None) -> Advance:
        """In the thread: what a batch adds up to. Decisions before the fence are only remembered."""
        decisions, unreadable = read([r.value for r in batch.records], [r.offset for r in batch.records])
        before = decisions.offsets < part.fence.next
        if before.any():
            part.memory.remember(decisions.take(np.flatnonzero(before)))
            decisions = decisions.take(np.flatnonzero(~before))
        part.memory.source = max(part.memory.source, part.fence.source)
        money = self._minor_per_unit, self._cap_minor
        more = absorb(decisions, candidate, part.memory, self._segments, part.taus, *money)
        for marks in more.marks.values():
            marks[CRITERIA] = self._criteria
        more.unreadable = sum(offset >= part.fence.next for offset in unreadable)
        return more

    async def _flush(self, partition: int, part: _Partition) -> None:
        """Apply what is pending and acknowledge its batches; go back to the fence where Redis refuses."""
        async with part.flushing:
            if not part.waiting:
                return
            what, batches, to = part.pending, part.waiting, part.reached
            part.pending, part.waiting, part.since = Advance(), [], 0.0
            started = time.perf_counter()
            is_repeated = False
            while True:
                try:
                    outcome = (
                        await self._store.advance(partition, part.fence, to, what)
                        if to > part.fence.next
                        else Applied({})
                    )
                    break
                except AWAY as error:
                    metrics.REDIS_ERRORS.labels(self.slot).inc()
                    log.warning("redis is away, waiting: %s", error)
                    if self.app.rebalancing or self._is_draining:
                        for batch in batches:
                            self.app.consumer.drop(batch)
                        return
                    is_repeated = True
                    await asyncio.sleep(RETRY_SECONDS)
            if (
                not isinstance(outcome, Applied)
                and not isinstance(outcome, Wiped)
                and is_repeated
                and outcome.next == to
            ):
                outcome = Applied({})  # the first try went through, and only its answer was lost
            metrics.STAGE.labels(self.slot, "flush").observe(time.perf_counter() - started)
            if not isinstance(outcome, Applied):
                reason = "wiped" if isinstance(outcome, Wiped) else "stale"
                for batch in batches:
                    self.app.consumer.drop(batch)
                await self._go_back(partition, reason)
                return
            part.taus.update(outcome.taus)
            part.fence = Fence(part.fence.nonce, max(to, part.fence.next), max(part.fence.source, what.source), False)
            for batch in batches:
                self.app.consumer.finish(batch)
            self._count(what, batches)

    async def _go_back(self, partition: int, reason: str) -> None:
        """What Redis has is not what was applied: read again from where it stands."""
        metrics.REFUSED.labels(self.slot, reason).inc()
        log.error("slot %s: partition %d: redis is %s; going back to its fence", self.slot, partition, reason)
        tp = TopicPartition(self.settings.topics.decisions, partition)
        oldest = (await self.app.consumer.earliest_offsets(tp))[tp]
        await self._reopen(partition, oldest)

    async def _reopen(self, partition: int, oldest: int) -> None:
        """Take a partition up again from the fence that Redis has now, unless it was revoked meanwhile."""
        old = self._partitions.get(partition)
        if old is None:
            return
        fresh = await self._patiently(partial(self._open, partition, oldest))
        for batch in old.waiting:  # those that came meanwhile, too: a revocation waits for each
            self.app.consumer.drop(batch)
        if self._partitions.get(partition) is not old:
            return
        self._partitions[partition] = fresh
        fresh.turn = self.app.consumer.rewind(TP(self.settings.topics.decisions, partition), fresh.position)

    def _count(self, what: Advance, batches: Sequence[Batch]) -> None:
        slot = self.slot
        everything = self._segments.names.index(ALL)
        for sums in what.tallies.values():
            for code, outcome in enumerate(OUTCOMES):
                metrics.COMPARED.labels(slot, outcome).inc(int(sums[everything, code]))
            metrics.ERRORS.labels(slot).inc(int(sums[everything, -1]))
        for counters in what.counters.values():
            metrics.DUPLICATES.labels(slot).inc(counters["duplicates"])
            metrics.CONFLICTS.labels(slot).inc(counters["conflicts"])
        for scores in what.scores:
            metrics.SCORES.observe(scores, slot)
        metrics.SKIPPED.labels(slot).inc(what.skipped)
        metrics.UNREADABLE.labels(slot).inc(what.unreadable)
        now = time.time()
        for batch in batches:
            stamps = np.array([record.timestamp for record in batch.records], dtype=np.float64)
            metrics.DELAY.observe(now - stamps[stamps > 0] / 1000.0, slot)
        last = batches[-1]
        end = self.app.consumer.highwater(TP(last.topic, last.partition))
        self._lag[last.partition] = max(0, (end or last.next) - last.next)
        metrics.LAG.labels(slot, str(last.partition)).set(self._lag[last.partition])

    async def _check(self) -> None:
        """Go back to the fence where Redis lost it while nothing came; a flush would find out by itself."""
        for partition, part in list(self._partitions.items()):
            try:
                async with part.flushing:
                    is_idle = not part.waiting and part is self._partitions.get(partition)
                    if is_idle and not await self._store.stands(partition, part.fence):
                        await self._go_back(partition, "lost")
            except AWAY as error:
                metrics.REDIS_ERRORS.labels(self.slot).inc()
                log.warning("redis is away: %s", error)
            except Exception as error:
                await self.app.fail(error)

    async def _tick(self) -> None:
        checked = time.monotonic()
        while not self._is_closed:  # a cancellation alone may be lost: `asyncio.wait_for` in Redis's client
            now = time.monotonic()
            for partition, part in list(self._partitions.items()):
                if part.waiting and now - part.since >= self.settings.flush_seconds:
                    try:
                        await self._flush(partition, part)
                    except Exception as error:
                        await self.app.fail(error)
            if now - checked >= CHECK_SECONDS:
                checked = now
                await self._check()
            candidate = self._model.candidate
            if candidate is not None and candidate.bundle is not None:
                metrics.MODEL_AGE.labels(self.slot).set(time.time() - candidate.bundle.manifest.created_at.timestamp())
            await asyncio.sleep(self.settings.flush_seconds / 5)

    async def _explain(self) -> None:
        while not self._is_closed:
            is_behind = any(self._lag.get(p, 0) > self.settings.batch_records for p in self._partitions)
            share = BEHIND_SHARE if is_behind else 1.0
            try:
                await self._explainer.explain_some(
                    self._store, list(self._partitions), int(self.settings.explain_per_second * share)
                )
            except (*AWAY, UserError) as error:
                log.warning("samples are not explained for a moment: %s", error)
            await asyncio.sleep(1.0)
