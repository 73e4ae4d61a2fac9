"""Counts the decisions topic again and compares the result with the tallies in Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import read as read_ledger
from scorer.errors import UserError
from scorer.kafka.reading import read_to_end, reader
from shadow.archive.counted import Counted
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.memory import Memory
from shadow.comparison.totals import Run
from shadow.gate.criteria import Release
from shadow.settings import ShadowSettings
from shadow.store.reader import Books, TallyReader
from shadow.worker.candidate import Candidate

#: Decisions that are scored at once.
CHUNK = 5000


@dataclass(frozen=True)
class Difference:
    """A number in Redis that a recount does not confirm. run: None for a number of the partition as a whole."""

    partition: int
    run: Run | None
    what: str
    tallied: int
    recounted: int


@dataclass(frozen=True)
class Verified:
    """The result of recounting the topic up to the fences. compared: comparisons by run."""

    decisions: int
    repeats: int
    refunds: int
    duplicates: int
    compared: dict[str, int]
    skipped: int
    differences: list[Difference]


async def verify(redis: Any, settings: ShadowSettings, slot: str, release: Release) -> Verified:
    """Score every decision before the fences again, with the candidate of its time, and compare the sums.

    Each partition's tallies are read at one moment, so the shadow may keep running. Raises UserError if a bundle is no
    longer in the store, or retention has deleted decisions.
    """
    store = TallyReader(redis, slot, release.segments.names, settings.prefix)
    books = {partition: await store.books(partition) for partition in await store.partitions()}
    deployments = await read_ledger(settings)
    bundles = BundleStore(settings.store, settings.cache, settings.store_seconds)
    candidates: dict[int, Candidate] = {}
    every = [run for book in books.values() for run in book.runs]
    for info, _ in every:
        epoch = info.run.candidate_epoch
        if epoch not in candidates:
            bundle = bundles.fetch(info.candidate_digest)
            threshold = info.candidate_threshold or 0.0
            candidates[epoch] = Candidate(info.candidate_digest, epoch, threshold, bundle, deployments.views)
    decisions = 0
    windows: dict[TopicPartition, int | None] = {TopicPartition(settings.topics.decisions, p): None for p in books}
    counted = {partition: Counted(len(release.segments.names)) for partition in books}
    memories = {partition: Memory() for partition in books}
    async with reader(settings) as consumer:
        oldest = await consumer.beginning_offsets(list(windows)) if windows else {}
        missing = sum(max(0, at - books[tp.partition].progress.first) for tp, at in oldest.items())
        if missing:
            raise UserError(
                f"slot {slot}: cannot be verified, as retention has deleted the {missing:,} oldest decisions; keep "
                "decisions for longer (retention.ms of the topic)"
            )
        async for (_, partition), records in read_to_end(consumer, windows):
            book = books[partition]
            first, after = book.progress.first, book.progress.next
            within = [record for record in records if first <= record.offset < after]
            decisions += len(within)
            for start in range(0, len(within), CHUNK):
                chunk = within[start : start + CHUNK]
                _recount(
                    chunk,
                    book,
                    candidates,
                    memories[partition],
                    release,
                    deployments.minor_per_unit,
                    counted[partition],
                )
    compared: dict[str, int] = defaultdict(int)
    for info, totals in sorted(every, key=lambda run: run[0].run):
        compared[str(info.run)] += totals.compared
    counters = [counters for part in counted.values() for counters in part.counters.values()]
    return Verified(
        decisions,
        sum(counter["repeats"] for counter in counters),
        sum(counter["refunds"] for counter in counters),
        sum(counter["duplicates"] for counter in counters),
        dict(compared),
        sum(book.progress.skipped for book in books.values()),
        [
            difference
            for partition, book in books.items()
            for difference in _differences(book, counted[partition], release)
        ],
    )


def _recount(
    records: Sequence[Any],
    book: Books,
    candidates: dict[int, Candidate],
    memory: Memory,
    release: Release,
    minor_per_unit: float,
    into: Counted,
) -> None:
    """Add records of a partition to `into`, each scored with the candidate that the slot held when it was read."""
    values, offsets = [record.value for record in records], [record.offset for record in records]
    decisions, unreadable = read(values, offsets, book.progress.partition)
    into.unreadable += len(unreadable)
    epochs = np.full(len(decisions), -1, dtype=np.int64)  # -1: outside of every run, the slot was empty
    for info, _ in book.runs:
        first, after = info.offsets[book.progress.partition]
        epochs[(decisions.offsets >= first) & (decisions.offsets < after)] = info.run.candidate_epoch
    cap_minor = release.cap_minor(minor_per_unit)
    for rows in np.split(np.arange(len(epochs)), np.flatnonzero(np.diff(epochs)) + 1):  # in log order
        if not len(rows):
            continue
        candidate = candidates.get(int(epochs[rows[0]]))
        into.add(absorb(decisions.take(rows), candidate, memory, release.segments, {}, minor_per_unit, cap_minor))


def _differences(book: Books, counted: Counted, release: Release) -> Iterator[Difference]:
    partition, names = book.progress.partition, release.segments.names
    sums, scores, days = counted.tallies, counted.scores, counted.days
    tallied = {info.run: totals for info, totals in book.runs}
    for run in sorted({*tallied, *sums}):
        there = tallied.get(run)
        if there is None:
            yield Difference(partition, run, "compared", 0, int(sums[run][0, :4].sum()))
            continue
        for at, name in enumerate(names):
            part = there.segments[name]
            for what, ours, theirs in (
                ("sums", part.columns, sums[run][at]),
                ("card-days", part.day_columns, days[run].sums[at]),
                ("heaviest", part.tops.ravel(), days[run].tops[at]),
                ("scores", part.scores.ravel(), scores[run][at].ravel()),
            ):
                if not np.array_equal(ours, theirs):
                    column = int(np.flatnonzero(ours != theirs)[0])
                    what = f"{what}[{column}] of {name}"
                    yield Difference(partition, run, what, int(ours[column]), int(theirs[column]))
        for counter in ("duplicates", "repeats", "refunds", "conflicts"):
            if getattr(there, counter) != counted.counters[run][counter]:
                yield Difference(partition, run, counter, getattr(there, counter), counted.counters[run][counter])
    for what in ("skipped", "unreadable"):
        if getattr(book.progress, what) != getattr(counted, what):
            yield Difference(partition, None, what, getattr(book.progress, what), getattr(counted, what))
