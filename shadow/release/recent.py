"""Reads a run by event day, for the criteria on its last days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shadow.comparison.totals import ALL, RunTotals, SegmentTotals
from shadow.gate.criteria import Release
from shadow.gate.drift import DriftLook
from shadow.gate.evidence import RecentEvidence, recent_from
from shadow.gate.recency import Recent
from shadow.gate.sums import Sums
from shadow.statistics.eprocess import Array
from shadow.store.reader import TallyReader

#: Event days that are read; a window of the last days is never longer.
MOST_DAYS = 14
#: A transaction counts in the event day on which it occurred up to 48 hours later, so older days no longer change.
SETTLED_AFTER = 3
#: Values worth one independent value where that could not be measured.
CLUSTERING = 10.0

#: Sums of each segment, by event day.
Days = dict[int, dict[str, SegmentTotals]]


@dataclass(frozen=True)
class RecentLook:
    """What the last days say, and the event days behind it, so that those that no longer change are not read again.

    evidence: what it follows from. compared: transactions of the run when it was read.
    """

    recent: Recent
    evidence: RecentEvidence
    compared: int
    candidate: Days = field(default_factory=dict)
    control: Days = field(default_factory=dict)


async def look_back(
    store: TallyReader,
    totals: RunTotals,
    control: tuple[TallyReader, RunTotals] | None,
    release: Release,
    drift: DriftLook | None,
    before: RecentLook | None,
) -> RecentLook:
    """What the last days of a run say. before: of the last look at the same run, None if there was none."""
    if before is not None and before.compared == totals.compared:
        return before
    covered = sorted({hour // 24 for hour in totals.covered})
    days = covered[-MOST_DAYS:]
    ours = await _by_day(store, totals, days, {} if before is None else before.candidate)
    path = path_of(totals, ours, days, release)
    theirs, floor = {}, None
    if control is not None:
        reader, beside = control
        theirs = await _by_day(reader, beside, days, {} if before is None else before.control)
        floor = path_of(beside, theirs, days, release)
    late = None
    if len(covered) > 2 * release.recent_days:
        late = (await store.histograms(totals.run, covered[-release.recent_days :], (ALL,))).sum(axis=(0, 1))[0]
    earlier = None if late is None else totals.segments[ALL].scores - late
    evidence = RecentEvidence(path, floor, len(covered) - len(days) - 1, earlier, late, _clustering(drift))
    return RecentLook(recent_from(evidence, release), evidence, totals.compared, ours, theirs)


async def _by_day(store: TallyReader, totals: RunTotals, days: Sequence[int], known: Days) -> Days:
    settled = {day: known[day] for day in days[:-SETTLED_AFTER] if day in known}
    names, wanted = list(totals.segments), [day for day in days if day not in settled]
    found = await store.daily(totals.run, names, wanted)
    return settled | {day: found.get(day, {}) for day in wanted}


def path_of(
    totals: RunTotals, by_day: Mapping[int, Mapping[str, SegmentTotals]], days: Sequence[int], release: Release
) -> Sums:
    """Sums up to the end of each event day, (days + 1, S) and so on; first, all that is in none of the days, which were
    read a moment after the totals. The heaviest card-days are those of the whole run."""
    names, nothing = release.segments.names, SegmentTotals()
    whole = Sums.of(totals, names)
    each = [Sums.of_segments([by_day[day].get(name, nothing) for name in names]) for day in days]

    def cumulated(name: str) -> Array:
        all_of_it = getattr(whole, name)
        daily = np.array([getattr(part, name) for part in each]).reshape(len(each), *all_of_it.shape)
        rest = np.maximum(all_of_it - daily.sum(axis=0), 0)
        return np.cumsum(np.concatenate([rest[None], daily]), axis=0)

    added = {name: cumulated(name) for name in ("counts", "capped", "cells", "money", "errors")}
    return Sums(**added, tops=np.broadcast_to(whole.tops, (len(days) + 1, *whole.tops.shape)))


def _clustering(drift: DriftLook | None) -> float:
    found = [row.clustering for row in drift.rows if row.what == "score: candidate"] if drift is not None else []
    return max(1.0, found[0]) if found and found[0] else CLUSTERING
