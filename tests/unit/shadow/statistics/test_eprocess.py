"""E-processes raise no more false alarms than promised, and find what is there; both against independent code."""

from __future__ import annotations

import doctest
import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import ville
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from shadow.statistics import eprocess
from shadow.statistics.eprocess import (
    BETS,
    STAKES,
    Ratio,
    log_evidence,
    log_smaller,
    log_unbalanced,
    rejected,
)

BAR = math.log(20)


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(eprocess).failed == 0


# --- formulas, against slow and obvious ones, and against other people's ---


@given(
    st.lists(st.sampled_from([1.0, -0.3, -1.2]), min_size=1, max_size=60),
    st.lists(st.floats(0, 1), min_size=60, max_size=60),
)
def test_evidence_from_sums_is_at_most_that_of_single_bets(kinds: list[float], weights: list[float]) -> None:
    """The fortune by its definition, one thing at a time; with weights of 0 and 1 it is the same."""
    values = [1.0, -0.3, -1.2]
    for given_weights in (weights, [round(weight) for weight in weights]):
        pairs = list(zip(kinds, given_weights, strict=False))
        fortunes = [math.prod(1 + share / 1.2 * value * weight for value, weight in pairs) for share in BETS]
        exact = math.log(sum(stake * fortune for stake, fortune in zip(STAKES, fortunes, strict=True)))
        sums = [np.array(sum(w for k, w in pairs if k == value)) for value in values]
        squares = [np.array(sum(w * w for k, w in pairs if k == value)) for value in values]
        found = float(log_evidence(values, sums, squares))
        assert found <= exact + 1e-9
        if given_weights is not weights:
            assert found == pytest.approx(exact)
            assert float(log_evidence(values, sums)) == pytest.approx(exact)


def test_the_stakes_are_a_whole_fortune() -> None:
    assert math.fsum(STAKES) == 1
    assert STAKES.min() > 0
    assert BETS.max() < 1


@given(st.lists(st.booleans(), max_size=80), st.floats(0.001, 0.3), st.floats(0.05, 0.95))
def test_evidence_for_a_small_part_is_the_fortune_of_one_bet(things: list[bool], share: float, aim: float) -> None:
    """The bet by its definition, one thing at a time; its payoffs are fair if the part is exactly the share."""
    bet = (1 - aim) / (1 - share)
    payoffs = [1 + bet / share * (share - thing) * share for thing in (True, False)]
    assert share * payoffs[0] + (1 - share) * payoffs[1] == pytest.approx(1)
    part = sum(things)
    by_hand = part * math.log(payoffs[0]) + (len(things) - part) * math.log(payoffs[1])
    assert float(log_smaller(np.array(part), np.array(len(things) - part), share, aim)) == pytest.approx(by_hand)
    assert float(log_smaller(np.array(0.0), np.array(1e9), 0.0, aim)) == -math.inf


@given(st.integers(0, 300), st.integers(0, 300))
def test_unbalanced_pairs_are_a_bayes_factor(live_only: int, candidate_only: int) -> None:
    n = live_only + candidate_only
    by_scipy = scipy.stats.betabinom(n, 0.5, 0.5).logpmf(candidate_only) - scipy.stats.binom(n, 0.5).logpmf(
        candidate_only
    )
    assert log_unbalanced(live_only, candidate_only) == pytest.approx(by_scipy, abs=1e-6)
    if n:
        test = ville.BernoulliTest(0.5, prior=(0.5, 0.5))
        test.fit(np.array([1.0] * candidate_only + [0.0] * live_only))
        assert log_unbalanced(live_only, candidate_only) == pytest.approx(float(test.log_e_values_[-1]), abs=1e-6)


@given(st.lists(st.floats(-3, 12), min_size=1, max_size=30), st.floats(0.001, 0.3))
def test_claims_are_rejected_as_by_another_implementation(log_e: list[float], alpha: float) -> None:
    even = np.full(len(log_e), 1 / len(log_e))
    theirs = ville.evalues.ebh(np.exp(log_e), alpha)
    assert rejected(np.array(log_e), even, alpha).tolist() == theirs.tolist()
    twice = rejected(np.array([log_e, log_e]), even, alpha)
    assert twice.tolist() == [theirs.tolist()] * 2


# --- a model of paired decisions ---


def paths(
    rng: np.random.Generator, runs: int, hours: int, blocks: float, lost: float, added: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cumulative both-block, live-only, candidate-only: float (runs, hours) each. blocks: of live, an hour on average,
    more by day than at night. lost, added: shares of them."""
    rate = blocks * (1 + 0.8 * np.sin(np.arange(hours) / 24 * 2 * np.pi))
    counts = [rng.poisson(rate * share, (runs, hours)) for share in (1 - lost, lost, added)]
    both, live_only, candidate_only = (np.cumsum(c, axis=1).astype(float) for c in counts)
    return both, live_only, candidate_only


def shift(both: Any, live_only: Any, candidate_only: Any) -> Ratio:
    return Ratio((1, -1, 0), (0, 1, 1), (candidate_only, live_only, both))


@pytest.mark.parametrize(("lost", "added"), [(0.1, 0.3), (0.0, 0.2), (0.6, 0.8)])
@pytest.mark.parametrize("blocks", [3.0, 0.2])
def test_a_ratio_at_its_limit_raises_few_alarms_in_hourly_looks(lost: float, added: float, blocks: float) -> None:
    """Shift is 0.2 exactly, and neither 'above 0.2' nor 'below 0.2' may be found in more runs than a twentieth."""
    runs = 600
    ratio = shift(*paths(np.random.default_rng(1), runs, 28 * 24, blocks, lost, added))
    for log_e in (ratio.log_above(0.2), ratio.log_below(0.2)):
        # 600 runs at 5 %: more than 46 alarms happen by chance in one of 1,000
        assert int((log_e.max(axis=1) >= BAR).sum()) <= 46


@pytest.mark.slow
def test_a_fixed_test_raises_many_alarms_in_daily_looks() -> None:
    """The reason for all this. McNemar as another library has it, looked at every day for four weeks."""
    rng, alarms = np.random.default_rng(2), 0
    _, live_only, candidate_only = paths(rng, 200, 28 * 24, 3.0, 0.15, 0.15)
    for b, c in zip(live_only[:, 23::24], candidate_only[:, 23::24], strict=True):
        looks = (mcnemar([[0, x], [y, 0]], exact=True).pvalue for x, y in zip(b.tolist(), c.tolist(), strict=True))
        alarms += any(p < 0.05 for p in looks)
    ours = sum(
        any(log_unbalanced(int(x), int(y)) >= BAR for x, y in zip(b, c, strict=True))
        for b, c in zip(live_only, candidate_only, strict=True)
    )
    assert alarms > 30
    assert ours <= 20  # 10 are promised


def test_harm_and_harmlessness_are_both_found() -> None:
    """Power: an e-process that never raises an alarm at all would pass every test above."""
    rng, bar = np.random.default_rng(3), math.log(200)
    twin = shift(*paths(rng, 200, 28 * 24, 0.6, 0.15, 0.15))  # 400 blocks
    assert (twin.log_below(0.2)[:, -1] >= bar).mean() > 0.95
    assert (twin.log_above(-0.2)[:, -1] >= bar).mean() > 0.95
    assert (twin.log_above(0.2).max(axis=1) >= bar).mean() < 0.01
    harmful = shift(*paths(rng, 200, 28 * 24, 0.6, 0.5, 0.1))
    assert (harmful.log_below(-0.2).max(axis=1) >= bar).mean() > 0.95


def test_it_needs_little_more_data_than_an_implementation_that_sees_every_value() -> None:
    """Pairs of 0.65 against the claim of one half: how many until it is given up, beside a published betting test."""
    rng, needed = np.random.default_rng(4), {"ours": [], "theirs": []}
    for _ in range(60):
        pairs = (rng.random(2000) < 0.65).astype(float)
        up = np.cumsum(pairs)
        down = np.arange(1, 2001) - up
        ours = log_evidence([1.0, -1.0], [up, down])
        theirs = ville.BettingTest(0.5, alternative="greater").fit(pairs).log_e_values_
        needed["ours"].append(int(np.argmax(ours >= BAR)))
        needed["theirs"].append(int(np.argmax(theirs >= BAR)))
    assert 0 < np.median(needed["ours"]) < 1.3 * np.median(needed["theirs"])


def excess(rng: np.random.Generator, runs: int, blocks: float, floor: float, extra: float) -> Ratio:
    """Both models differ from live on the same borderline transactions half of the time; the candidate on more."""
    rate = np.full((runs, 400), blocks)
    shared, ours, theirs = (rng.poisson(rate * share).cumsum(axis=1) for share in (floor, floor + extra, floor))
    live = rng.poisson(rate).cumsum(axis=1)
    lost = rng.binomial(shared + theirs, 0.5)
    return Ratio(
        (1, -1, -1, 0),
        (0, 1, 0, 1),
        tuple(np.asarray(x, dtype=float) for x in (shared + ours, lost, shared + theirs - lost, live)),
    )


def test_excess_over_the_control_keeps_its_error_and_has_power() -> None:
    rng, bar = np.random.default_rng(5), math.log(20)
    at_limit = excess(rng, 400, 2.0, 0.15, 0.3)  # live blocks beside those the control lost: a little less than 0.3
    assert (at_limit.log_above(0.3).max(axis=1) >= bar).mean() <= 0.08
    twin = excess(rng, 200, 2.0, 0.15, 0.0)
    assert (twin.log_below(0.2)[:, -1] >= bar).mean() > 0.95
    other = excess(rng, 200, 2.0, 0.15, 0.8)
    assert (other.log_above(0.3)[:, -1] >= bar).mean() > 0.95


def test_amounts_keep_their_error_and_have_power() -> None:
    """Amounts as shares of a cap, from their sums and sums of squares; the truth is a shift of 0.2 of the amount."""
    rng, runs, steps, bar = np.random.default_rng(6), 300, 200, math.log(20)

    def amounts(per_step: float) -> tuple[np.ndarray, np.ndarray]:
        counts = rng.poisson(per_step, (runs, steps))
        drawn = np.minimum(rng.lognormal(-2, 1, int(counts.sum())), 1.0)
        at = np.repeat(np.arange(counts.size), counts.ravel())
        sums = [np.bincount(at, drawn**power, counts.size).reshape(counts.shape).cumsum(axis=1) for power in (1, 2)]
        return sums[0], sums[1]

    def ratio(lost: float, added: float) -> Ratio:
        parts = [amounts(5 * share) for share in (added, lost, 1 - lost)]
        return Ratio((1, -1, 0), (0, 1, 1), tuple(p[0] for p in parts), tuple(p[1] for p in parts))

    at_limit = ratio(0.1, 0.3)
    for log_e in (at_limit.log_above(0.2), at_limit.log_below(0.2)):
        assert (log_e.max(axis=1) >= bar).mean() <= 0.08
    harmless = ratio(0.15, 0.15)
    assert (harmless.log_below(0.25)[:, -1] >= bar).mean() > 0.95
    assert (ratio(0.7, 0.1).log_below(-0.3)[:, -1] >= bar).mean() > 0.95


# --- intervals and many claims ---


@given(st.integers(0, 3000), st.integers(0, 300), st.integers(0, 300), st.floats(1e-3, 0.2))
def test_an_interval_contains_its_estimate_and_agrees_with_the_evidence(
    both: int, lost: int, added: int, alpha: float
) -> None:
    ratio = shift(*(np.array(float(n)) for n in (both, lost, added)))
    found = ratio.bounds(alpha, -1.0, 50.0)
    assert found.low <= found.high
    if both + lost and ratio.estimate <= 50:
        assert found.low - 1e-9 <= ratio.estimate <= found.high + 1e-9
    wider = ratio.bounds(alpha / 2, -1.0, 50.0)
    assert wider.low <= found.low + 1e-6
    assert wider.high >= found.high - 1e-6
    for limit in (0.1, 0.4):
        is_below = bool(ratio.log_below(limit) >= -math.log(alpha))
        assert is_below == (found.high <= limit + 1e-9) or abs(found.high - limit) < 1e-6


def test_intervals_evaluated_hourly_contain_the_truth() -> None:
    ratio = shift(*paths(np.random.default_rng(7), 150, 300, 2.0, 0.3, 0.2))
    found = ratio.bounds(0.05, -1.0, 20.0)
    wrong = ((found.low > -0.1) | (found.high < -0.1)).any(axis=1)
    assert wrong.mean() <= 0.2  # 0.1 is promised
    widths = (found.high - found.low)[:, -1]
    fixed = 2 * 1.96 * math.sqrt(0.5 / 600)
    assert np.median(widths) < 2.2 * fixed


def test_fifty_segments_are_not_fifty_false_alarms() -> None:
    rng, runs, segments = np.random.default_rng(8), 100, 50
    log_e = np.stack([shift(*paths(rng, runs, 100, 2.0, 0.15, 0.15)).log_below(0.0) for _ in range(segments)], axis=-1)
    weights = np.full(segments, 1 / segments)
    each = (log_e >= BAR).any(axis=(1, 2)).mean()
    together = rejected(log_e, weights, 0.05).any(axis=(1, 2)).mean()
    assert each > 0.3
    assert together <= 0.08


def test_harm_in_many_segments_is_found_sooner_than_in_one() -> None:
    log_e = np.array([math.log(60)] * 10 + [0.0] * 10)
    weights = np.full(20, 1 / 20)
    assert rejected(log_e, weights, 0.05).sum() == 10
    assert not rejected(np.array([math.log(60)] + [0.0] * 19), weights, 0.05).any()
    assert rejected(np.array([math.log(500)] + [0.0] * 19), weights, 0.05).tolist() == [True] + [False] * 19


def test_evidence_does_not_depend_on_the_order_of_things() -> None:
    log_e = {
        round(float(log_evidence([1.0, -1.0], [np.array(float(sum(o))), np.array(float(5 - sum(o)))])), 9)
        for o in itertools.permutations([1, 1, 1, 0, 0])
    }
    assert len(log_e) == 1
