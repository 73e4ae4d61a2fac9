"""Has a bundle decide archived decisions, as a shadow of that time would have, and judges its runs as the gate would.

What compares, tallies, samples and judges is what `shadow run` and `shadow serve` use. The tallies go into a store of
their own that nobody else knows, by the same script; nothing here writes to the ledger, or to a deployment's Redis. A
backtest can reject and inform. It never promotes: somebody may have tried many bundles on the same days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from scorer.bundles.bundle import Bundle
from scorer.deployments.records import CANDIDATE, LIVE, Override, PublishedView
from scorer.deployments.slots import Deployments, Slot
from scorer.errors import BundleError, UserError
from scorer.pipeline.batch import Matrix
from shadow.archive.rows import decisions_of
from shadow.archive.stretch import Days, Stretch, split
from shadow.archive.tables import TopicTable
from shadow.archive.votes import known_votes
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import of_rows
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.comparison.resets import CRITERIA
from shadow.comparison.sampling import Thresholds
from shadow.gate.criteria import Release
from shadow.gate.findings import Decision
from shadow.release.look import Look, look
from shadow.settings import ShadowSettings
from shadow.store.labels import LabelStore
from shadow.store.reader import RunInfo, TallyReader
from shadow.store.tallies import Applied, Fence, TallyStore
from shadow.worker.candidate import Candidate

#: Decisions that are scored at once, and labels that are merged at once.
CHUNK = 5_000
#: A feature view that fewer decisions have than this share of all need not fit.
FEW = 0.01
#: Epoch of the slots of a backtest: nobody has filled them.
EPOCH = 1


@dataclass(frozen=True)
class Contender(Candidate):
    """A bundle in a slot of the backtest. spent: seconds that its scoring took, in a list of one."""

    spent: list[float] = field(default_factory=lambda: [0.0])

    def score(self, view: str, matrix: Matrix) -> Matrix:
        started = time.perf_counter()
        try:
            return super().score(view, matrix)
        finally:
            self.spent[0] += time.perf_counter() - started


@dataclass
class _Place:
    """Where a slot stands in a partition."""

    fence: Fence
    memory: Memory = field(default_factory=Memory)
    taus: Thresholds = field(default_factory=Thresholds)
    pending: Increment = field(default_factory=Increment)


@dataclass(frozen=True)
class Judged:
    """A run of the backtest: what it was judged on, and with which slots. why_apart: why it says nothing about the
    candidate; None if it does."""

    info: RunInfo
    deployments: Deployments
    look: Look
    why_apart: str | None

    @property
    def decision(self) -> Decision:
        return self.look.judgement.decision

    @property
    def compared(self) -> int:
        return self.look.candidate.compared


def archived_deployments(stored: dataset.Dataset) -> Deployments:
    """What the archive has of the topic `deployments`: for the feature views and the reporting currency alone, as
    nothing checks here who signed what."""
    rows = stored.to_table(columns=["partition", "offset", "key", "body", "problem"])
    rows = rows.filter(pc.is_null(rows["problem"])).sort_by([("partition", "ascending"), ("offset", "ascending")])
    found = Deployments()
    for key, body in zip(rows["key"].to_pylist(), rows["body"].to_pylist(), strict=True):
        if key is not None and key.startswith("view/"):
            found.fold(key.encode(), None if body is None else body.encode())
    return found


def require_fit(bundle: Bundle, views: Mapping[str, PublishedView], days: Mapping[str | None, Days]) -> None:
    """Raise UserError unless a bundle can score the decisions of each feature view. days: of `Stretch`.

    A view of few decisions is let pass: somebody else may have written them, and what cannot be scored is an error of
    the candidate, as it is live.
    """
    least = sum(of.decisions for of in days.values()) * FEW
    for name, of in days.items():
        if name is None or of.decisions < least:
            continue
        which = f"{of.decisions:,} decisions of {of.first} to {of.last}"
        if name not in views:
            raise UserError(
                f"archive: has no feature view {name}, under which {which} were made; it was dropped with old days of "
                "table deployments: choose other days with --from and --to"
            )
        try:
            bundle.columns_in(views[name].names, views[name].definitions)
        except BundleError as error:
            raise UserError(
                f"{error}; {which} have snapshots of view {name}: choose other days with --from and --to, or a bundle "
                "that fits them"
            ) from None


async def merge_labels(redis: Any, table: TopicTable, as_of_ms: int, settings: ShadowSettings) -> int:
    """Bring the labels that were known at a time into the store; how many there were."""
    labels, count = LabelStore(redis, settings.prefix, settings.label_days), 0
    for votes in known_votes(table, as_of_ms):
        await labels.merge(votes, {})
        count += len(votes)
    return count


class Backtest:
    """Replays a stretch into a store. contenders: by slot, the candidate and perhaps the control.

    decisions, unreadable: how many were replayed, and records that are none.
    """

    def __init__(
        self, redis: Any, settings: ShadowSettings, release: Release, contenders: Mapping[str, Contender]
    ) -> None:
        self._redis, self._settings, self._release = redis, settings, release
        self._contenders = dict(contenders)
        self._stores = {
            slot: TallyStore(
                redis, slot, release.segments.names, settings.prefix, settings.sample_days, settings.label_days
            )
            for slot in contenders
        }
        self._overrides: dict[int, Override] = {}
        self.decisions = self.unreadable = 0

    async def replay(
        self, stretch: Stretch, minor_per_unit: float, progress: Callable[[int], Any] = lambda rows: None
    ) -> None:
        """Compare and tally every decision. progress: called with the number of rows after some of them."""
        places: dict[tuple[str, int], _Place] = {}
        for slot, store in self._stores.items():
            for partition, (first, _) in stretch.partitions.items():
                places[slot, partition] = _Place(await store.open_partition(partition, first))
        for partition, rows in stretch.parts():
            mine = {slot: places[slot, partition] for slot in self._contenders}
            for start in range(0, rows.num_rows, CHUNK):
                some = rows.slice(start, CHUNK)
                self._absorb(partition, some, mine, minor_per_unit)
                progress(some.num_rows)
            for slot, place in mine.items():
                await self._apply(slot, partition, place, int(rows["offset"][-1].as_py()) + 1)

    def _absorb(self, partition: int, rows: pa.Table, places: Mapping[str, _Place], minor_per_unit: float) -> None:
        """What the worker of each slot does with a batch; see `shadow.worker.slot_worker.SlotWorker.absorb`."""
        good, problems = split(rows)
        decisions, unfit = of_rows(decisions_of(good), good["offset"].to_pylist(), partition)
        bad = len(problems) + len(unfit)
        self.decisions += len(decisions)
        self.unreadable += bad
        for at in np.unique(decisions.epochs, return_index=True)[1].tolist():
            row = decisions.rows[at]
            if row.get("override") is not None:
                self._overrides.setdefault(row["epoch"], row["override"])
        money = minor_per_unit, self._release.cap_minor(minor_per_unit)
        for slot, place in places.items():
            contender = self._contenders[slot]
            increment = absorb(decisions, contender, place.memory, self._release.segments, place.taus.known, *money)
            for marks in increment.marks.values():
                marks[CRITERIA] = self._release.digest
            increment.unreadable += bad
            add(place.pending, increment)
            place.taus.note(increment.samples)

    async def _apply(self, slot: str, partition: int, place: _Place, to: int) -> None:
        increment, place.pending = place.pending, Increment()
        outcome = await self._stores[slot].apply(partition, place.fence, to, increment)
        if not isinstance(outcome, Applied):
            raise RuntimeError(f"slot {slot}, partition {partition}: the store of the backtest lost what it had")
        place.taus.told(outcome.taus)
        place.fence = replace(place.fence, next=to, source=max(place.fence.source, increment.source), is_new=False)

    async def judged(self, published: Deployments, progress: Callable[[str], Any] = lambda run: None) -> list[Judged]:
        """Every run, oldest first, each as the gate would have judged it at its end.

        published: the feature views. progress: called with what is judged next.
        """
        store = TallyReader(self._redis, CANDIDATE, self._release.segments.names, self._settings.prefix)
        out = []
        for info in await store.runs():
            progress(str(info.run))
            override = self._overrides.get(info.run.live_epoch)
            slots = {LIVE: Slot(info.run.live_epoch, info.live_digest or None, info.live_threshold, override)}
            for slot, contender in self._contenders.items():
                slots[slot] = Slot(contender.epoch, contender.digest, contender.threshold)
            deployments = Deployments(slots=slots, views=dict(published.views))
            seen = await look(self._redis, deployments, CANDIDATE, self._release, self._settings)
            out.append(Judged(info, deployments, seen, self._why_apart(info, override)))
        return out

    def _why_apart(self, info: RunInfo, override: Override | None) -> str | None:
        mine = self._contenders[CANDIDATE]
        if override is not None or not info.live_digest:
            return "live decided by an override, not by a model"
        if (info.live_digest, info.live_threshold) == (mine.digest, mine.threshold):
            return "live was the candidate itself"
        return None


def verdict(runs: Sequence[Judged]) -> tuple[Decision, Judged] | None:
    """The verdict of a backtest, and the run that it rests on; None if no run says anything about the candidate.

    A run that rejects decides, the largest of them; else the run with the most comparisons does.
    """
    telling = [run for run in runs if run.why_apart is None and run.compared]
    if not telling:
        return None
    rejecting = [run for run in telling if run.decision is Decision.REJECT]
    largest = max(rejecting or telling, key=lambda run: run.compared)
    return largest.decision, largest


def lost_within(gaps: Sequence[Mapping[str, Any]], topic: str, stretch: Stretch) -> list[str]:
    """What retention took out of a stretch before it was archived, for people."""
    taken = "Partition {partition}: retention took decisions {first}-{after} before they were archived"
    return [
        taken.format(**gap)
        for gap in gaps
        if gap["topic"] == topic
        and gap["partition"] in stretch.partitions
        and gap["after"] > stretch.partitions[gap["partition"]][0]
        and gap["first"] <= stretch.partitions[gap["partition"]][1]
    ]
