"""Recounts the decisions topic from the wire and compares with what Redis holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
from shadow.readback import RunInfo, TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import COLUMNS, Run, RunTotals

CHUNK = 5000


@dataclass(frozen=True)
class Difference:
    """A number that is not what a recount gives."""

    run: str
    what: str
    tallied: int
    recounted: int


@dataclass(frozen=True)
class Verified:
    """What a recount of the topic up to the fences found. missing: decisions that retention took since."""

    decisions: int
    repeats: int
    duplicates: int
    compared: dict[str, int]
    skipped: int
    missing: int
    differences: list[Difference]


async def verify(redis: Any, settings: ShadowSettings, slot: str, release: Release) -> Verified:
    """Score every decision before the fences again with the candidate of its time, and add up anew.

    Raises UserError if a bundle is gone, or if retention took decisions that are in the tallies.
    """
    store = TallyReader(redis, slot, release.segments.names, settings.prefix)
    runs, fences = await store.runs(), {part.partition: part for part in await store.progress()}
    deployments = await read_ledger(settings)
    bundles = BundleStore(settings.store, settings.cache)
    candidates = {
        info.run.candidate_epoch: Candidate(
            info.candidate_digest,
            info.run.candidate_epoch,
            info.candidate_threshold or 0.0,
            bundles.fetch(info.candidate_digest),
            deployments.views,
        )
        for info in runs
    }
    total = Advance()
    counted: dict[int, Advance] = {}
    decisions = missing = 0
    windows: dict[TopicPartition, int | None] = {TopicPartition(settings.topics.decisions, p): None for p in fences}
    memories: dict[int, Memory] = defaultdict(Memory)
    async with reader(settings) as consumer:
        oldest = await consumer.beginning_offsets(list(windows)) if windows else {}
        missing = sum(oldest.values())
        async for (_, partition), records in read_to_end(consumer, windows):
            within = [record for record in records if record.offset < fences[partition].next]
            part = counted.setdefault(partition, Advance())
            for start in range(0, len(within), CHUNK):
                chunk = within[start : start + CHUNK]
                decisions += len(chunk)
                _recount(chunk, partition, runs, candidates, memories[partition], release, settings, part)
    for part in counted.values():
        add(total, part)
    tallied = {info.run: await store.totals(info.run) for info in runs}
    if missing:
        raise UserError(f"slot {slot}: retention took {missing} decisions from the topic; the rest cannot be compared")
    skipped = sum(part.skipped for part in fences.values())
    found = list(_differences(tallied, total, release))
    if skipped != total.skipped:
        found.append(Difference("-", "skipped", skipped, total.skipped))
    return Verified(
        decisions,
        sum(counters["repeats"] for counters in total.counters.values()),
        sum(counters["duplicates"] for counters in total.counters.values()),
        {str(run): totals.compared for run, totals in tallied.items()},
        skipped,
        missing,
        found,
    )


def _recount(
    records: Sequence[Any],
    partition: int,
    runs: Sequence[RunInfo],
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
    for info in runs:
        first, after = info.offsets.get(partition, (0, 0))
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


def _differences(tallied: dict[Run, RunTotals], total: Advance, release: Release) -> Any:
    names = release.segments.names
    sums: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), COLUMNS), dtype=np.int64))
    for (run, _), counts in total.tallies.items():
        sums[run] = sums[run] + counts
    scores: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), len(KINDS), BINS), dtype=np.int64))
    for (run, _), histograms in total.histograms.items():
        scores[run] = scores[run] + histograms
    pairs: dict[Run, Any] = defaultdict(lambda: np.zeros((len(names), 2), dtype=np.int64))
    seen: set[tuple[Run, int, str, int]] = set()
    for pair in total.pairs:
        key = (pair.run, pair.day, pair.card, 0)
        if key not in seen:
            seen.add(key)
            for segment in pair.segments:
                pairs[pair.run][segment, 0 if pair.live_only else 1] += 1
    for run in sorted({*tallied, *sums}):
        there = tallied.get(run)
        if there is None:
            yield Difference(str(run), "compared", 0, int(sums[run][0, :4].sum()))
            continue
        for at, name in enumerate(names):
            part = there.segments[name]
            mine = part.columns
            for what, ours, theirs in (
                ("sums", mine, sums[run][at]),
                ("pairs", part.pairs, pairs[run][at]),
                ("scores", part.scores.ravel(), scores[run][at].ravel()),
            ):
                if not np.array_equal(ours, theirs):
                    column = int(np.flatnonzero(ours != theirs)[0])
                    yield Difference(str(run), f"{what}[{column}] of {name}", int(ours[column]), int(theirs[column]))
        for counter in ("duplicates", "repeats", "conflicts"):
            if getattr(there, counter) != total.counters[run][counter]:
                yield Difference(str(run), counter, getattr(there, counter), total.counters[run][counter])
