"""Recounts the decisions topic from the wire and compares with what Redis holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from scorer.errors import UserError
from scorer.ledger import read as read_ledger
from scorer.store import BundleStore
from scorer.topics import read_to_end, reader
from shadow.absorb import Memory, absorb
from shadow.advance import Advance, add
from shadow.bins import BINS, KINDS
from shadow.candidate import Candidate
from shadow.criteria import Release
from shadow.decisions import read
from shadow.readback import Books, TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import COLUMNS, Run

CHUNK = 5000


@dataclass(frozen=True)
class Difference:
    """A number that is not what a recount gives. run: None for one of the partition as a whole."""

    partition: int
    run: Run | None
    what: str
    tallied: int
    recounted: int


@dataclass(frozen=True)
class Verified:
    """What a recount of the topic up to the fences found. compared: by run."""

    decisions: int
    repeats: int
    duplicates: int
    compared: dict[str, int]
    skipped: int
    differences: list[Difference]


async def verify(redis: Any, settings: ShadowSettings, slot: str, release: Release) -> Verified:
    """Score every decision before the fences again with the candidate of its time, and add up anew.

    Each partition is held against its books of one moment, so a shadow may go on meanwhile.
    Raises UserError if a bundle is gone, or if retention took decisions that are in the tallies.
    """
    store = TallyReader(redis, slot, release.segments.names, settings.prefix)
    books = {partition: await store.books(partition) for partition in await store.partitions()}
    deployments = await read_ledger(settings)
    bundles = BundleStore(settings.store, settings.cache)
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
    counted = {partition: Advance() for partition in books}
    memories = {partition: Memory() for partition in books}
    async with reader(settings) as consumer:
        missing = sum((await consumer.beginning_offsets(list(windows))).values()) if windows else 0
        if missing:
            told = f"retention took {missing} decisions from the topic; the rest cannot be compared"
            raise UserError(f"slot {slot}: {told}")
        async for (_, partition), records in read_to_end(consumer, windows):
            book = books[partition]
            within = [record for record in records if record.offset < book.progress.next]
            decisions += len(within)
            for start in range(0, len(within), CHUNK):
                chunk = within[start : start + CHUNK]
                _recount(chunk, book, candidates, memories[partition], release, settings, counted[partition])
    compared: dict[str, int] = defaultdict(int)
    for info, totals in sorted(every, key=lambda run: run[0].run):
        compared[str(info.run)] += totals.compared
    counters = [counters for part in counted.values() for counters in part.counters.values()]
    return Verified(
        decisions,
        sum(counter["repeats"] for counter in counters),
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
    settings: ShadowSettings,
    into: Advance,
) -> None:
    """Absorb records of a partition, each with the candidate that the slot had when it was read."""
    decisions, unreadable = read([record.value for record in records], [record.offset for record in records])
    into.unreadable += len(unreadable)
    epochs = np.full(len(decisions), -1, dtype=np.int64)  # the slot was empty where no run reaches
    for info, _ in book.runs:
        first, after = info.offsets[book.progress.partition]
        epochs[(decisions.offsets >= first) & (decisions.offsets < after)] = info.run.candidate_epoch
    minor_per_unit = 10.0**settings.minor_digits
    cap_minor = release.cap_minor(minor_per_unit)
    for rows in np.split(np.arange(len(epochs)), np.flatnonzero(np.diff(epochs)) + 1):  # in log order
        if not len(rows):
            continue
        candidate = candidates.get(int(epochs[rows[0]]))
        more = absorb(decisions.take(rows), candidate, memory, release.segments, {}, minor_per_unit, cap_minor)
        more.samples.clear()
        more.scores.clear()
        add(into, more)


def _differences(book: Books, counted: Advance, release: Release) -> Iterator[Difference]:
    partition, names = book.progress.partition, release.segments.names
    sums: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), COLUMNS), dtype=np.int64))
    for (run, _), counts in counted.tallies.items():
        sums[run] = sums[run] + counts
    scores: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), len(KINDS), BINS), dtype=np.int64))
    for (run, _), histograms in counted.histograms.items():
        scores[run] = scores[run] + histograms
    pairs: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), 2), dtype=np.int64))
    seen: set[tuple[Run, int, str]] = set()
    for pair in counted.pairs:
        key = (pair.run, pair.day, pair.card)
        if key not in seen:
            seen.add(key)
            for segment in pair.segments:
                pairs[pair.run][segment, 0 if pair.live_only else 1] += 1
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
                ("pairs", part.pairs, pairs[run][at]),
                ("scores", part.scores.ravel(), scores[run][at].ravel()),
            ):
                if not np.array_equal(ours, theirs):
                    column = int(np.flatnonzero(ours != theirs)[0])
                    what = f"{what}[{column}] of {name}"
                    yield Difference(partition, run, what, int(ours[column]), int(theirs[column]))
        for counter in ("duplicates", "repeats", "conflicts"):
            if getattr(there, counter) != counted.counters[run][counter]:
                yield Difference(partition, run, counter, getattr(there, counter), counted.counters[run][counter])
    for what in ("skipped", "unreadable"):
        if getattr(book.progress, what) != getattr(counted, what):
            yield Difference(partition, None, what, getattr(book.progress, what), getattr(counted, what))
