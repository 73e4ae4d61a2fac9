"""What another threshold would do, held against scoring every transaction once more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.samples import a_sample
from harness.tables import a_table
from shadow.comparison.bins import ALLOWED, ALLOWED_MONEY, BINS, BLOCKED, BLOCKED_MONEY, EDGES, KINDS, LIVE, score_bins
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import ModelDecision
from shadow.exploration.thresholds import by_histogram, by_samples, curve

RNG = np.random.default_rng(5)
N = 4_000
LIVE_SCORES, SCORES = RNG.beta(0.5, 3, N), RNG.beta(0.5, 3, N)
MINOR = RNG.integers(100, 90_000, N)
BLOCKS = LIVE_SCORES >= 0.5


def histogram() -> np.ndarray:
    out = np.zeros((len(KINDS), BINS), dtype=np.int64)
    np.add.at(out[LIVE], score_bins(LIVE_SCORES), 1)
    for kind, money, side in ((ALLOWED, ALLOWED_MONEY, ~BLOCKS), (BLOCKED, BLOCKED_MONEY, BLOCKS)):
        np.add.at(out[kind], score_bins(SCORES[side]), 1)
        np.add.at(out[money], score_bins(SCORES[side]), MINOR[side])
    return out


WHOLE = histogram()


@given(st.one_of(st.floats(0, 1), st.sampled_from(EDGES.tolist()), st.sampled_from([0.0, 1.0, 1e-9])))
def test_the_truth_lies_within_the_limits_of_the_bin(threshold: float) -> None:
    found = by_histogram(WHOLE, int(BLOCKS.sum()), threshold)
    reaches = threshold <= SCORES
    for number, truth in (
        (found.blocks, reaches.sum()),
        (found.candidate_only, (reaches & ~BLOCKS).sum()),
        (found.live_only, (~reaches & BLOCKS).sum()),
        (found.candidate_only_money, MINOR[reaches & ~BLOCKS].sum()),
        (found.live_only_money, MINOR[~reaches & BLOCKS].sum()),
    ):
        assert number.low <= truth <= number.high
        assert number.low <= number.value <= number.high
    if threshold in EDGES:
        assert found.blocks.low == found.blocks.high == reaches.sum(), "exact at an edge"
    assert found.transactions == N


def test_a_curve_falls_as_the_threshold_rises() -> None:
    found = curve(WHOLE, int(BLOCKS.sum()))
    assert len(found) > 20
    blocks = [one.blocks.value for one in found]
    assert blocks == sorted(blocks, reverse=True)
    assert curve(np.zeros_like(WHOLE), 0) == []


def test_samples_say_the_same_with_their_error() -> None:
    outcomes = [Outcome(int(live) + 2 if live != own else int(live)) for live, own in zip(BLOCKS, BLOCKS, strict=True)]
    some = [
        a_sample(
            n,
            outcome=outcomes[n],
            live=ModelDecision(float(LIVE_SCORES[n]), 0.5, "allow", "b" * 64, 1),
            candidate=ModelDecision(float(SCORES[n]), 0.5, "allow", "c" * 64, 1),
            amount_minor=int(MINOR[n]),
        )
        for n in range(N)
    ]
    drawn = RNG.random(N) < 0.25
    table = a_table([one for one, is_drawn in zip(some, drawn, strict=True) if is_drawn], [0.25] * int(drawn.sum()))
    found = by_samples(table, np.arange(int(drawn.sum())), 0.3)
    truth = int(((SCORES >= 0.3) & ~BLOCKS).sum())
    assert found.candidate_only.low < truth < found.candidate_only.high
    assert found.candidate_only.value == pytest.approx(truth, rel=0.2)
    money = int(MINOR[(SCORES >= 0.3) & ~BLOCKS].sum())
    assert found.candidate_only_money.low < money < found.candidate_only_money.high
