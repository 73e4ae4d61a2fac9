"""Counts comparisons by run, event hour and segment, as integer sums.

Scores are counted by event day, in `shadow.comparison.histograms`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from scorer.pipeline.instants import HOUR_MS
from shadow.comparison.bins import Counts
from shadow.comparison.comparisons import Comparisons
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import CAPPED, COLUMNS, ERRORS, LATE, MINOR, Run

#: How far before and after the time of scoring an event may lie to count in its own hour.
BEHIND_MS, AHEAD_MS = 48 * HOUR_MS, 5 * 60_000


def event_hours(occurred_ms: Counts, scored_ms: Counts) -> Counts:
    """The event hour of each transaction, since 1970: int64 (n,).

    LATE where the transaction is dated more than 48 h before, or 5 min after, the time of scoring.
    """
    fits = (occurred_ms >= scored_ms - BEHIND_MS) & (occurred_ms <= scored_ms + AHEAD_MS)
    return np.where(fits, occurred_ms // HOUR_MS, LATE)


#: Sums by run and hour: int64 (segments, COLUMNS), rows in the order of `Segments.names`.
Tallies = dict[tuple[Run, int], Counts]


def tally(comparisons: Comparisons, n_segments: int, cap_minor: int) -> Tallies:
    """Sum comparisons; the order of rows does not matter. A row that is not usable only counts as an error.

    cap_minor: cap on each amount in the sums `capped`, in minor units, above 0.
    """
    out: Tallies = {}
    if not len(comparisons):
        return out
    outcomes, segments, usable, minor = (
        comparisons.outcomes,
        comparisons.segments,
        comparisons.usable,
        comparisons.minor,
    )
    groups, group_of = np.unique(np.stack([comparisons.run_of, comparisons.hours], axis=1), axis=0, return_inverse=True)
    sums = np.zeros((len(groups), n_segments, COLUMNS), dtype=np.int64)
    group = np.broadcast_to(group_of.reshape(-1, 1), segments.shape)
    np.add.at(sums, (group, segments, np.where(usable, outcomes, ERRORS)[:, None]), 1)
    np.add.at(sums, (group[usable], segments[usable], MINOR.start + outcomes[usable, None]), minor[usable, None])
    has = usable & (outcomes >= Outcome.BOTH_BLOCK)
    column = CAPPED.start + outcomes[has, None] - Outcome.BOTH_BLOCK
    np.add.at(sums, (group[has], segments[has], column), np.minimum(minor, cap_minor)[has, None])
    for at, (run, hour) in enumerate(groups.tolist()):
        out[comparisons.runs[run], hour] = sums[at]
    return out


_Key = TypeVar("_Key")


def merge(into: dict[_Key, Counts], more: dict[_Key, Counts]) -> None:
    """Add the sums of `more` to `into`, in place. Sums of another shape are left out: of one view, only a record that
    somebody else wrote has another number of features."""
    for key, counts in more.items():
        if key not in into:
            into[key] = counts
        elif into[key].shape == counts.shape:
            into[key] = into[key] + counts
