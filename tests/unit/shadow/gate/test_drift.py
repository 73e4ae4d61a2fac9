"""Drift: limits that hold with clustered cards and moody days, and that find what has changed."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from shadow.comparison.bins import BINS, BY_VALUE, FEATURE_BINS, KINDS, NEGATIVE, POSITIVE
from shadow.gate import drift
from shadow.gate.drift import LEAST, Drift, DriftLook, Windows, clustering, compare, drift_between, merged, psi, windows

#: Bins, partitions and days of the simulated traffic.
K, PARTS, DAYS = 30, 8, 7


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(drift).failed == 0


# --- windows ---


@given(st.lists(st.integers(100, 140), max_size=40), st.integers(1, 10))
def test_windows_are_of_the_same_weekdays_and_apart(days: list[int], n: int) -> None:
    reference = sorted(set(days))[:n]
    found = windows(days, reference)
    complete = sorted(set(days))[:-1]
    if found is None:
        assert not [
            day for day in complete if day > max(reference, default=0) and day % 7 in {r % 7 for r in reference}
        ]
        return
    assert [day % 7 for day in found.reference] == [day % 7 for day in found.recent]
    assert set(found.reference) <= set(reference)
    assert max(reference) < min(found.recent)
    assert found.recent[-1] - found.recent[0] < 7
    assert max(days) not in found.recent, "a day that is still going on"
    assert len(set(found.recent)) == len(found.recent)


def test_a_second_week_stands_against_the_first_day_by_day() -> None:
    assert windows(range(100, 115), range(100, 107)) == Windows(tuple(range(100, 107)), tuple(range(107, 114)))
    assert windows(range(100, 109), range(100, 107)) == Windows((100,), (107,))
    assert windows(range(100, 108), range(100, 107)) is None, "the eighth day is still going on"


# --- bins, index, clustering ---


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=2, max_size=40), st.integers(0, 1))
def test_merged_bins_keep_every_value_in_order_and_hold_enough(cells: list[tuple[int, int]], apart: int) -> None:
    counts = np.array(cells, dtype=np.int64).T.reshape(2, 1, 1, -1)
    found = merged(counts, apart)
    assert found.sum(axis=-1).tolist() == counts.sum(axis=-1).tolist()
    edges = np.cumsum(found[0, 0, 0]).tolist()
    assert set(edges) <= set(np.cumsum(counts[0, 0, 0]).tolist())
    if found.shape[-1] > 1:
        both, sizes = found.sum(axis=(0, 1, 2)), found.sum(axis=(1, 2, 3))
        assert both.min() >= LEAST * both.sum() / sizes.min() - 1e-9
    if (
        apart
        and found.shape[-1] > 1
        and counts[..., 0].sum() >= LEAST * counts.sum() / counts.sum(axis=(1, 2, 3)).min()
    ):
        assert found[:, 0, 0, 0].tolist() == counts[:, 0, 0, 0].tolist(), "missing values are not apart"


@given(st.lists(st.tuples(st.integers(50, 900), st.integers(50, 900)), min_size=2, max_size=12))
def test_the_index_is_the_sum_of_both_divergences(cells: list[tuple[int, int]]) -> None:
    one, other = np.array(cells, dtype=float).T
    p, q = (one + 0.5) / (one + 0.5).sum(), (other + 0.5) / (other + 0.5).sum()
    both = scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p)
    assert psi(one, other) == pytest.approx(both, abs=1e-12)
    assert psi(one, other) == pytest.approx(psi(other, one))


def test_with_independent_values_the_test_is_pearsons_and_the_index_follows_its_distribution() -> None:
    rng = np.random.default_rng(1)
    p = np.full(10, 0.1)
    statistics, indices = [], []
    for _ in range(400):
        one, other = rng.multinomial(5000, p), rng.multinomial(3000, p)
        indices.append(psi(one, other) / (1 / 5000 + 1 / 3000))
        statistics.append(scipy.stats.chi2_contingency([one, other]).statistic)
    assert np.corrcoef(indices, statistics)[0, 1] > 0.999
    assert scipy.stats.kstest(indices, scipy.stats.chi2(9).cdf).pvalue > 0.001
    counts = rng.multinomial(1000, p, size=(2, PARTS, DAYS))
    found = compare("x", counts, 0.01)
    flat = merged(counts).sum(axis=(1, 2))
    top = (flat.shape[1] - 1) / 2
    assert found.clustering is not None
    pearson = scipy.stats.chi2_contingency(flat).statistic / found.clustering / (2 * top)
    by_groups = [float(scipy.stats.f(top, top * (groups - 1)).sf(pearson)) for groups in (PARTS, DAYS)]
    assert min(abs(p - (found.p or math.nan)) for p in by_groups) < 1e-6


def test_values_that_are_there_several_times_over_are_worth_one() -> None:
    rng = np.random.default_rng(2)
    counts = rng.multinomial(300, np.full(10, 0.1), size=(2, 40)).astype(float)
    assert clustering(counts) == pytest.approx(1.0, abs=0.15)
    assert clustering(counts * 5) == pytest.approx(5 * clustering(counts))
    assert clustering(counts[:, :2]) is None
    assert clustering(counts[:, :, :1]) is None


# --- a model of cards: each has habits of its own, and weeks of more and of less use ---


def a_fortnight(
    rng: np.random.Generator,
    cards: int = 800,
    activity: float = 0.7,
    shape: float = 0.5,
    habit: float = 5.0,
    mood: float = 0.0,
    change: float = 0.0,
    parts: int = PARTS,
) -> np.ndarray:
    """Counts of both windows: (2, parts, DAYS, K).

    activity: transactions of a card and day, gamma over cards with `shape`. habit: how alike cards are (the higher, the
    more; of a Dirichlet around the common habit). mood: standard deviation of a day's tilt. change: tilt of the second
    window, in log-odds from the first bin to the last.
    """
    base = np.exp(-np.linspace(0, 4, K))
    base /= base.sum()
    out = np.zeros((2, parts, DAYS, K), dtype=np.int64)
    part = rng.integers(0, parts, cards)
    rate = rng.gamma(shape, activity / shape, cards)
    habits = rng.gamma(base * habit, 1, (cards, K)) + 1e-12
    for window in range(2):
        use = rng.gamma(2, 0.5, cards)
        for day in range(DAYS):
            tilted = habits * np.exp((rng.normal(0, mood) + change * window) * np.linspace(0, 1, K))
            n = rng.poisson(rate * use)
            has = n > 0
            drawn = rng.multinomial(n[has], tilted[has] / tilted[has].sum(axis=1, keepdims=True))
            np.add.at(out[window, :, day], part[has], drawn)
    return out


MODELS = {
    "independent": {"habit": 1e6},
    "cards with habits": {"habit": 1.0},
    "a few busy cards": {"shape": 0.1, "activity": 1.5, "habit": 3.0},
    "moody days": {"habit": 1e6, "mood": 0.3},
    "both": {"habit": 5.0, "mood": 0.3},
    "one partition, moody days": {"habit": 1e6, "mood": 0.3, "parts": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_without_drift_few_limits_are_exceeded(model: str) -> None:
    """At 2 % each. 300 fortnights: more than 14 alarms happen by chance in one of 1,000."""
    rng, runs = np.random.default_rng(3), 300
    found = [compare("x", a_fortnight(rng, **MODELS[model]), 0.02) for _ in range(runs)]
    assert sum(one.has_drifted for one in found) <= 14
    assert all(one.p is not None and one.limit is not None for one in found)


def test_a_test_that_takes_transactions_for_independent_raises_many_alarms() -> None:
    """The reason for measuring the clustering: Pearson's test at 2 % on the same fortnights."""
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(60):
        flat = merged(a_fortnight(rng, **MODELS["a few busy cards"])).sum(axis=(1, 2))
        alarms += scipy.stats.chi2_contingency(flat).pvalue < 0.02
    assert alarms > 40


@pytest.mark.slow
@pytest.mark.parametrize(("model", "change"), [("independent", 0.5), ("cards with habits", 3.0), ("moody days", 1.0)])
def test_drift_is_found_long_before_the_index_is_a_fifth(model: str, change: float) -> None:
    """Power, at the error that is left to each of 40 features at 1 %."""
    rng, runs = np.random.default_rng(4), 60
    given_model = MODELS[model] | {"cards": 4000, "change": change}
    found = [compare("x", a_fortnight(rng, **given_model), 0.01 / 40) for _ in range(runs)]
    assert np.mean([one.has_drifted for one in found]) > 0.9
    assert np.median([one.psi for one in found]) < 0.2


def test_the_limit_falls_with_the_counts() -> None:
    rng = np.random.default_rng(5)
    limits = [compare("x", a_fortnight(rng, cards=cards), 0.01).limit or math.inf for cards in (300, 1200, 4800)]
    assert limits[0] > 2 * limits[1] > 4 * limits[2]


# --- the whole look ---


def a_snapshot(rng: np.random.Generator, n: int, at: int) -> np.ndarray:
    """Features of n snapshots, as counts of bins: one normal one around a bin, one constant, one often missing."""
    out = np.zeros((3, FEATURE_BINS), dtype=np.int64)
    np.add.at(out[0], POSITIVE + np.clip(np.round(at + 4 * rng.normal(size=n)).astype(int), 0, 175), 1)
    out[1, POSITIVE + 10] = n
    missing = int(rng.binomial(n, 0.1))
    out[2, 0], out[2, NEGATIVE + 3] = missing, n - missing
    return out


def a_drift_look(rng: np.random.Generator, at: int = 60, scores: int = 200) -> DriftLook:
    features = np.stack(
        [[[a_snapshot(rng, 200, place) for _ in range(DAYS)] for _ in range(PARTS)] for place in (60, at)]
    )
    p = np.exp(-np.linspace(0, 5, BINS))
    binned = rng.multinomial(scores, p / p.sum(), size=(2, PARTS, DAYS, len(KINDS)))
    totals = binned.sum(axis=(1, 2))
    within = Windows(tuple(range(7)), tuple(range(7, 14)))
    return drift_between(binned, features, ("amount", "constant", "gap"), within, 0.01, totals[0], totals[1], 0.005)


def test_what_drifts_is_named_and_what_does_not_is_not() -> None:
    rng = np.random.default_rng(6)
    still = [a_drift_look(rng) for _ in range(60)]
    assert sum(bool(one.drifted) for one in still) <= 3
    found = a_drift_look(rng, at=62)
    assert found.drifted == ("feature: amount",)
    by_what = {row.what: row for row in found.rows}
    assert by_what["feature: constant"].limit is None
    assert by_what["feature: gap"].limit is not None
    score = by_what["score: candidate"]
    assert score.low == 0.0
    assert score.distance is not None
    assert score.high is not None
    assert score.distance < score.high
    assert "feature: amount" in found.told
    assert "decides nothing" in found.told


def test_a_change_in_what_is_missing_is_drift() -> None:
    rng = np.random.default_rng(7)
    counts = np.zeros((2, PARTS, DAYS, FEATURE_BINS), dtype=np.int64)
    counts[..., POSITIVE + 20] = rng.binomial(300, 0.5, counts.shape[:3])
    counts[..., POSITIVE + 30] = 300 - counts[..., POSITIVE + 20]
    counts[0, ..., 0], counts[1, ..., 0] = 6, 30
    assert compare("x", counts[..., BY_VALUE], 0.001, apart=1).has_drifted
    counts[1, ..., 0] = 6
    assert not compare("x", counts[..., BY_VALUE], 0.001, apart=1).has_drifted


def test_with_nothing_to_compare_nothing_is_said() -> None:
    empty = np.zeros((2, PARTS, DAYS, K), dtype=np.int64)
    assert compare("x", empty, 0.01) == Drift("x", 0, 0, 0.0, None, None, None)
    few: Any = np.zeros((2, 1, 1, K), dtype=np.int64)
    few[..., :2] = 1000
    assert compare("x", few, 0.01).limit is None, "one group says nothing of its clustering"
    assert "not known yet; it is early" in DriftLook(None, missing="it is early").told
