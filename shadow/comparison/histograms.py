"""Histograms of scores and of feature snapshots by run and event day, as integer sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadow.comparison.bins import (
    ALLOWED,
    ALLOWED_MONEY,
    BINS,
    FEATURE_BINS,
    KINDS,
    LIVE,
    Counts,
    feature_bins,
    score_bins,
)
from shadow.comparison.comparisons import Comparisons
from shadow.comparison.totals import Run

#: One transaction in this many has its snapshot counted: where it divides the source offset.
SNAPSHOT_EVERY = 4

#: Scores by run and event day (LATE_DAY for late ones): int64 (segments, KINDS, BINS).
Histograms = dict[tuple[Run, int], Counts]
#: Features by run, event day and feature view: int64 (features, FEATURE_BINS).
Snapshots = dict[tuple[Run, int, str], Counts]


def score_histograms(comparisons: Comparisons, n_segments: int) -> Histograms:
    """Count scores by bin; the order of rows does not matter.

    Rows that are not usable are left out; live's score counts where it has one.
    """
    rows = np.flatnonzero(comparisons.usable)
    if not len(rows):
        return {}
    groups, group_of = np.unique(
        np.stack([comparisons.run_of[rows], comparisons.days[rows]], axis=1), axis=0, return_inverse=True
    )
    sums = np.zeros((len(groups), n_segments, len(KINDS), BINS), dtype=np.int64)
    shape = sums.shape
    flat = sums.reshape(-1)
    first = (group_of.reshape(-1, 1) * n_segments + comparisons.segments[rows]) * len(KINDS) * BINS
    candidate, live = score_bins(comparisons.scores[rows]), score_bins(comparisons.live_scores[rows])
    side = comparisons.blocks[rows].astype(np.int64)
    has = live >= 0
    np.add.at(flat, first[has] + (LIVE * BINS + live[has])[:, None], 1)
    np.add.at(flat, first + ((ALLOWED + side) * BINS + candidate)[:, None], 1)
    np.add.at(flat, first + ((ALLOWED_MONEY + side) * BINS + candidate)[:, None], comparisons.minor[rows, None])
    sums = flat.reshape(shape)
    return {(comparisons.runs[run], day): sums[at] for at, (run, day) in enumerate(groups.tolist())}


def snapshot_histograms(
    comparisons: Comparisons, rows: Counts, view: str, matrix: npt.NDArray[np.float64]
) -> Snapshots:
    """Count features of one view by bin. rows: int64 (k,), positions among the comparisons. matrix: (k, features)."""
    out: Snapshots = {}
    if not len(matrix):
        return out
    width = matrix.shape[1]
    cells = feature_bins(matrix) + np.arange(width) * FEATURE_BINS
    keys = np.stack([comparisons.run_of[rows], comparisons.days[rows]], axis=1)
    groups, group_of = np.unique(keys, axis=0, return_inverse=True)
    for at, (run, day) in enumerate(groups.tolist()):
        mine = cells[group_of.ravel() == at].ravel()
        counts = np.bincount(mine, minlength=width * FEATURE_BINS)
        out[comparisons.runs[run], day, view] = counts.reshape(width, FEATURE_BINS)
    return out
