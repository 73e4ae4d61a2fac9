"""The candidate at live's block rate: the threshold from one window, the verdict from the next, and what others do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compared import comparisons
from shadow.comparison.bins import BINS, EDGES, KINDS, score_bins
from shadow.comparison.histograms import score_histograms
from shadow.comparison.totals import Run, SegmentTotals
from shadow.gate.criteria import Release, parse
from shadow.gate.matched import Matched, blocks_at, calibration_days, edge_for, matched, outcomes_at, tradeoff
from shadow.gate.sums import Sums

RELEASE = parse("schema: 1\nsegments:\n  side: {field: side, values: [left]}\n")
RUN, N = Run(1, 1), len(RELEASE.segments.names)

rows = st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 10_000)), max_size=60)


def binned(live: Any, scores: Any, minor: Any, side: Any = None, names: int = N) -> np.ndarray:
    """Histograms of one day: (segments, KINDS, BINS)."""
    n = len(live)
    zeros = np.zeros(n, dtype=np.int64)
    found = score_histograms(
        comparisons(
            n,
            segments=np.stack([zeros, 1 + (zeros if side is None else side)], axis=1),
            blocks=np.asarray(live, dtype=bool),
            minor=np.asarray(minor, dtype=np.int64),
            live_scores=np.asarray(scores, dtype=float),
            scores=np.asarray(scores, dtype=float),
        ),
        names,
    )
    return found.get((RUN, 0), np.zeros((names, len(KINDS), BINS), dtype=np.int64))


@given(rows, st.sampled_from(range(len(EDGES))))
def test_at_every_edge_outcomes_are_those_of_a_count_by_hand(given_rows: list[Any], edge: int) -> None:
    live, scores, minor = (list(column) for column in zip(*given_rows, strict=True)) if given_rows else ([], [], [])
    counts, money = outcomes_at(binned(live, scores, minor), edge)
    wanted, due = [0] * 4, [0] * 4
    for blocks, score, amount in zip(live, scores, minor, strict=True):
        other = score >= EDGES[edge]
        code = (1 if blocks else 0) if blocks == other else 2 if blocks else 3
        wanted[code] += 1
        due[code] += amount
    assert counts[0].tolist() == wanted
    assert money[0].tolist() == due


@given(rows)
def test_no_edge_comes_nearer_to_lives_blocks_than_the_one_that_is_taken(given_rows: list[Any]) -> None:
    live, scores, minor = (list(column) for column in zip(*given_rows, strict=True)) if given_rows else ([], [], [])
    sums = binned(live, scores, minor)[0]
    edge = edge_for(sums)
    if not sum(live):
        assert edge is None
        return
    assert edge is not None
    off = [abs(sum(score >= at for score in scores) - sum(live)) for at in EDGES.tolist()]
    assert off[edge] == min(off)


@given(rows)
def test_the_curve_falls_and_holds_what_each_threshold_would_do(given_rows: list[Any]) -> None:
    live, scores, minor = (list(column) for column in zip(*given_rows, strict=True)) if given_rows else ([], [], [])
    points = tradeoff(binned(live, scores, minor)[0])
    assert [p.threshold for p in points] == sorted(p.threshold for p in points)
    assert [p.blocks for p in points] == sorted((p.blocks for p in points), reverse=True)
    for point in points:
        mine = [(b, a) for b, s, a in zip(live, scores, minor, strict=True) if s >= point.threshold]
        lost = [a for b, s, a in zip(live, scores, minor, strict=True) if b and s < point.threshold]
        assert (point.blocks, point.added, point.lost) == (len(mine), sum(not b for b, _ in mine), len(lost))
        assert (point.added_minor, point.lost_minor) == (sum(a for b, a in mine if not b), sum(lost))
        assert sum(live) / 4 <= point.blocks <= 4 * sum(live)


@given(st.lists(st.integers(0, 24 * 20), max_size=60), st.integers(1, 9))
def test_the_window_is_the_first_days_and_something_follows_it(hours: list[int], n: int) -> None:
    days = calibration_days(hours, n)
    there = sorted({hour // 24 for hour in hours})
    assert list(days) == (there[:n] if len(there) > n else [])


# --- a model of two scores of one truth ---


def traffic(rng: np.random.Generator, n: int, scale: float = 1.0, noise: float = 0.4) -> tuple[Any, Any, Any, Any]:
    """Live's verdicts at 1 %, the candidate's scores, amounts, and the side. scale: of the candidate's log-odds."""
    truth = rng.normal(size=n)
    live = truth + noise * rng.normal(size=n)
    mine = truth + noise * rng.normal(size=n)
    side = (rng.random(n) < 0.5).astype(np.int64)
    blocks = live >= 2.326 * math.sqrt(1 + noise**2)
    return blocks, 1 / (1 + np.exp(-(mine - 3.0) * scale)), rng.integers(100, 10_000, n), side


def a_look(rng: np.random.Generator, n: int = 60_000, release: Release = RELEASE, **more: Any) -> Matched:
    before, after = (binned(*traffic(rng, n, **more)) for _ in range(2))
    floors = [binned(*traffic(rng, n)) for _ in range(2)]
    nothing = Sums.of_segments([SegmentTotals()] * N)
    found = matched(before, after, nothing, release, range(7), 0.5, (floors[0], floors[1], nothing))
    assert found is not None
    return found


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.6])
def test_a_miscalibrated_twin_blocks_as_much_as_live_once_it_is_matched(scale: float) -> None:
    """And at its shipped threshold it would not: that is what this view is for."""
    found = a_look(np.random.default_rng(1), scale=scale)
    assert abs(found.off) < 0.06, "the bins are too coarse"
    whole = found.parts[0]
    assert whole.shift is not None
    assert abs(whole.shift.estimate) < 0.12
    assert whole.shift.low < 0 < whole.shift.high
    assert not whole.differs
    assert whole.floor == pytest.approx(whole.disagreement, abs=0.1), "no more than two of a kind differ by"
    assert found.below < found.threshold < found.above


@pytest.mark.slow
def test_steps_of_a_bin_are_small_beside_what_chance_does() -> None:
    """The error of the binning: half a bin's blocks, beside one standard error of 600 of live's."""
    rng = np.random.default_rng(2)
    offs = [abs(a_look(rng, scale=scale).off) for scale in np.linspace(0.6, 1.8, 13)]
    assert max(offs) < 0.06
    assert np.mean(offs) < 1 / math.sqrt(600)


@pytest.mark.slow
def test_the_same_hours_would_flatter() -> None:
    """Judged on the window that it was taken from, the threshold fits better than it does on what follows."""
    rng = np.random.default_rng(3)
    ours, theirs = [], []
    for _ in range(20):
        found = a_look(rng, n=20_000)
        assert found.parts[0].shift is not None
        ours.append(abs(found.parts[0].shift.estimate))
        theirs.append(abs(found.off))
    assert np.mean(ours) > 1.5 * np.mean(theirs)


def test_a_segment_in_which_one_blocks_more_is_named() -> None:
    rng = np.random.default_rng(4)

    def tilted(n: int) -> np.ndarray:
        blocks, scores, minor, side = traffic(rng, n)
        odds = np.log(scores / (1 - scores)) + np.where(side == 1, 0.6, -0.6)
        return binned(blocks, 1 / (1 + np.exp(-odds)), minor, side)

    nothing = Sums.of_segments([SegmentTotals()] * N)
    found = matched(tilted(60_000), tilted(60_000), nothing, RELEASE, range(7))
    assert found is not None
    assert [part.differs for part in found.parts] == [False, True, True, False, False, False]
    assert "one of the two still blocks more in: side=left, side=other" in found.told


@pytest.mark.slow
def test_twins_are_seldom_said_to_block_differently_somewhere() -> None:
    rng = np.random.default_rng(5)
    wrong = sum(any(part.differs for part in a_look(rng, n=15_000).parts) for _ in range(120))
    assert wrong <= 8  # reject_error is 0.02: the threshold is not the exact one, and that is a difference, too


def test_without_a_block_of_live_there_is_no_second_view() -> None:
    nothing = np.zeros((N, len(KINDS), BINS), dtype=np.int64)
    sums = Sums.of_segments([SegmentTotals()] * N)
    assert matched(nothing, nothing, sums, RELEASE, range(7)) is None
    full = binned([True, False], [0.9, 0.1], [5, 5])
    found = matched(full, nothing, sums, RELEASE, range(7))
    assert found is not None
    assert found.parts[0].shift is None
    assert found.curve == ()
    assert "live has blocked nothing yet" in found.told


@settings(max_examples=30)
@given(st.floats(0.001, 0.999))
def test_a_threshold_within_the_bins_beside_it_is_the_shipped_one(shipped: float) -> None:
    sums = binned([True] * 3 + [False] * 40, [0.9] * 3 + [0.1] * 40, [5] * 43)
    nothing = Sums.of_segments([SegmentTotals()] * N)
    found = matched(sums, sums, nothing, RELEASE, range(7), shipped)
    assert found is not None
    assert found.is_as_shipped == (found.below <= shipped <= found.above)
    assert int(blocks_at(sums[0])[edge_for(sums[0]) or 0]) == 3
    assert score_bins(np.array([found.threshold]))[0] == edge_for(sums[0]) + 1
