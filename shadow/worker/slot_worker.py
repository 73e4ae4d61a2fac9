"""What a worker does for one slot: follows its candidate, compares batches in a thread, and has its place in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scorer.bundles.store import BundleStore
from scorer.pipeline.money import Currency
from scorer.streaming.app import Owned
from scorer.streaming.fetch import Batch
from shadow import metrics
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import Decisions
from shadow.comparison.increment import Increment, add
from shadow.comparison.resets import CRITERIA
from shadow.gate.criteria import Release
from shadow.settings import ShadowSettings
from shadow.store.tallies import TallyStore
from shadow.worker.candidate import Candidate, SlotFollower
from shadow.worker.counting import Counting
from shadow.worker.partitions import Partition, Partitions
from shadow.worker.reading import Reading


@dataclass(frozen=True)
class Share:
    """What a slot takes of a batch: the decisions from offset `start` on, compared with `candidate`."""

    batch: Batch
    part: Partition
    start: int
    candidate: Candidate | None


class SlotWorker:
    """The shadow of one slot. redis: a client that the worker's slots share."""

    def __init__(
        self,
        settings: ShadowSettings,
        slot: str,
        release: Release,
        reading: Reading,
        redis: Any,
        bundles: BundleStore,
    ) -> None:
        names = release.segments.names
        self.slot, self._release = slot, release
        self.model = SlotFollower(slot, bundles)
        self.store = TallyStore(redis, slot, names, settings.prefix, settings.sample_days, settings.label_days)
        self.counting = Counting(slot, names)
        self.partitions = Partitions(reading, slot, self.store, self.counting, self.model.since_ms)
        reading.readers.append(self.partitions)

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        """Open all partitions that the worker owns now; returns where each goes on."""
        mine = self.partitions.owned = {}
        for o in owned:
            mine[o.partition] = await self.partitions.open(o.partition, o.oldest)
        return {p: part.position for p, part in mine.items()}

    async def take(self, batch: Batch) -> Share | None:
        """What the slot takes of a batch, None if nothing; the partition's position is then after the batch."""
        part = await self.partitions.wanted(batch)
        if part is None:
            return None
        share = Share(batch, part, part.position, self.model.candidate)
        part.position = batch.next
        self.counting.took(batch)
        return share

    def absorb(self, share: Share, decisions: Decisions, unreadable: Sequence[int], currency: Currency) -> Increment:
        """The increment of a share of a batch; runs in the thread. Decisions before the fence are remembered, not
        counted. decisions, unreadable: of the whole batch, as `decisions.read` has them."""
        part, candidate = share.part, share.candidate
        money = currency.minor_per_unit, self._release.cap_minor(currency.minor_per_unit)
        given = self._release.segments, part.taus.known, *money
        _, decisions = decisions.split(share.start)
        before, decisions = decisions.split(part.fence.next)
        part.memory.remember(before)
        early: Increment | None = None
        if candidate is not None:
            begins = part.begins(share.batch, share.start, candidate.epoch, candidate.since_ms)
            skipped, decisions = decisions.split(begins)
            if len(skipped):
                early = absorb(skipped, None, part.memory, *given)
        increment = absorb(decisions, candidate, part.memory, *given)
        if early is not None:
            add(early, increment)
            increment = early
        for marks in increment.marks.values():
            marks[CRITERIA] = self._release.digest
        increment.unreadable += sum(offset >= max(share.start, part.fence.next) for offset in unreadable)
        return increment

    async def gather(self, share: Share, increment: Increment, flush_records: int) -> None:
        """Add the increment of a share to what is pending, and write that if it is much or the worker stops."""
        partition, part = share.batch.partition, share.part
        if part is not self.partitions.owned.get(partition) or part.position != share.batch.next:
            self.partitions.drop(share.batch)  # the partition was opened again meanwhile
            return
        part.gather(share.batch, increment)
        if self.partitions.is_draining or part.records >= flush_records:
            await self.partitions.flush(partition, part)

    def note_age(self, now: float) -> None:
        """Tell how old the candidate's data is. now: seconds since 1970."""
        candidate = self.model.candidate
        if candidate is not None and candidate.bundle is not None:
            metrics.MODEL_AGE.labels(self.slot).set(now - candidate.bundle.manifest.counts_from.timestamp())
