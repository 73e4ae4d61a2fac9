"""What scores and snapshots of a day add up to: histograms by run, event day and segment, as integer sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shadow.bins import ALLOWED, ALLOWED_MONEY, BINS, FEATURE_BINS, KINDS, LIVE, Counts, feature_bins, score_bins
from shadow.tally import Run

#: Snapshots are tallied for one transaction in so many: of those whose source offset it divides.
SNAPSHOT_EVERY = 4

#: Scores by run and event day (-1 for those dated too far off): int64 (segments, KINDS, BINS).
Histograms = dict[tuple[Run, int], Counts]
#: Features by run, event day and feature view: int64 (features, FEATURE_BINS).
Snapshots = dict[tuple[Run, int, str], Counts]


def score_histograms(
    runs: list[Run],
    run_of: Counts,
    days: Counts,
    segments: Counts,
    blocks: npt.NDArray[np.bool_],
    minor: Counts,
    live_scores: npt.NDArray[np.float64],
    candidate_scores: npt.NDArray[np.float64],
    usable: npt.NDArray[np.bool_],
    n_segments: int,
) -> Histograms:
    """Sum n comparisons; rows that are not usable are left out. Of live's score only where it has one.

    runs, run_of: the runs there are and each row's position among them. days: event days. segments: int64 (n, d).
    blocks: bool (n,), what live decided. minor: minor units. Order does not matter.
    """
    rows = np.flatnonzero(usable)
    if not len(rows):
        return {}
    groups, group_of = np.unique(np.stack([run_of[rows], days[rows]], axis=1), axis=0, return_inverse=True)
    sums = np.zeros((len(groups), n_segments, len(KINDS), BINS), dtype=np.int64)
    shape = sums.shape
    flat = sums.reshape(-1)
    first = (group_of.reshape(-1, 1) * n_segments + segments[rows]) * len(KINDS) * BINS
    mine, theirs = score_bins(candidate_scores[rows]), score_bins(live_scores[rows])
    side = blocks[rows].astype(np.int64)
    has = theirs >= 0
    np.add.at(flat, first[has] + (LIVE * BINS + theirs[has])[:, None], 1)
    np.add.at(flat, first + ((ALLOWED + side) * BINS + mine)[:, None], 1)
    np.add.at(flat, first + ((ALLOWED_MONEY + side) * BINS + mine)[:, None], minor[rows, None])
    sums = flat.reshape(shape)
    return {(runs[run], day): sums[at] for at, (run, day) in enumerate(groups.tolist())}


def snapshot_histograms(
    runs: list[Run], run_of: Counts, days: Counts, view: str, matrix: npt.NDArray[np.float64]
) -> Snapshots:
    """Sum n snapshots of one view. matrix: float64 (n, features)."""
    out: Snapshots = {}
    if not len(matrix):
        return out
    width = matrix.shape[1]
    cells = feature_bins(matrix) + np.arange(width) * FEATURE_BINS
    groups, group_of = np.unique(np.stack([run_of, days], axis=1), axis=0, return_inverse=True)
    for at, (run, day) in enumerate(groups.tolist()):
        mine = cells[group_of.ravel() == at].ravel()
        out[runs[run], day, view] = np.bincount(mine, minlength=width * FEATURE_BINS).reshape(width, FEATURE_BINS)
    return out
