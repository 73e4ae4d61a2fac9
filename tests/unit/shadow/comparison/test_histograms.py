"""Histograms count every usable score and feature once, in its bin, by run, day and segment."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.compared import comparisons
from shadow.comparison.bins import KINDS, feature_bins, score_bins
from shadow.comparison.histograms import score_histograms, snapshot_histograms
from shadow.comparison.totals import LATE, LATE_DAY, Run

RUNS = [Run(1, 1), Run(2, 1)]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "run": st.integers(0, 1),
            "hour": st.sampled_from([LATE, 5, 30]),
            "segment": st.integers(0, 2),
            "blocks": st.booleans(),
            "minor": st.integers(0, 10**9),
            "live_score": st.one_of(st.just(math.nan), st.floats(0, 1)),
            "score": st.floats(0, 1),
            "usable": st.booleans(),
        }
    ),
    max_size=20,
)


@given(ROWS)
def test_score_histograms_are_those_of_a_count_by_hand(rows: list[dict[str, float]]) -> None:
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else {})}
    expected: Counter[tuple[Run, int, int, str, int]] = Counter()
    for row in rows:
        if row["usable"]:
            day = LATE_DAY if row["hour"] == LATE else int(row["hour"]) // 24
            at = RUNS[int(row["run"])], day, int(row["segment"])
            side = "blocks" if row["blocks"] else "allows"
            mine = int(score_bins(np.array([row["score"]]))[0])
            expected[*at, f"candidate_live_{side}", mine] += 1
            expected[*at, f"money_live_{side}", mine] += int(row["minor"])
            if not math.isnan(row["live_score"]):
                expected[*at, "live", int(score_bins(np.array([row["live_score"]]))[0])] += 1
    found = score_histograms(
        comparisons(
            len(rows),
            runs=RUNS,
            run_of=columns["run"],
            hours=columns["hour"],
            segments=columns["segment"].reshape(-1, 1),
            blocks=columns["blocks"],
            minor=columns["minor"],
            live_scores=columns["live_score"],
            scores=columns["score"],
            usable=columns["usable"],
        )
        if rows
        else comparisons(0),
        3,
    )
    counted = {
        (run, day, int(segment), KINDS[kind], int(at)): int(sums[segment, kind, at])
        for (run, day), sums in found.items()
        for segment, kind, at in np.argwhere(sums)
    }
    assert counted == +expected


def test_snapshots_are_counted_by_feature_and_day() -> None:
    matrix = np.array([[0.0, 2.0], [1.0, np.nan], [0.0, 2.0]])
    found = snapshot_histograms(comparisons(4, hours=np.array([0, 1, 25, 26])), np.array([0, 1, 3]), "v", matrix)
    assert found.keys() == {(Run(1, 1), 0, "v"), (Run(1, 1), 1, "v")}
    for day, rows in ((0, matrix[:2]), (1, matrix[2:])):
        for feature, counts in enumerate(found[Run(1, 1), day, "v"]):
            assert Counter(feature_bins(rows[:, feature]).tolist()) == {
                int(at): int(counts[at]) for at in np.flatnonzero(counts)
            }
    assert snapshot_histograms(comparisons(4), np.array([], dtype=np.int64), "v", matrix[:0]) == {}
