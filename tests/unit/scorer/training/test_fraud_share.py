"""Labels whose share of fraud is far from that of the model before are refused, unless chance or what nobody knows may
have done it."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import UserError
from scorer.training.fraud_share import Labelled, require_near

counts = st.integers(1, 100_000).flatmap(
    lambda known: st.builds(Labelled, st.just(known), st.integers(0, known), st.integers(0, 10_000))
)


def is_refused(found: Labelled, parent: Labelled | None, factor: float = 3.0) -> bool:
    try:
        require_near(found, parent, "a" * 64, factor)
    except UserError:
        return True
    return False


def test_swapped_labels_are_refused_and_the_line_has_both_shares() -> None:
    with pytest.raises(UserError) as refused:
        require_near(Labelled(4900, 4851, 100), Labelled(20_000, 240), "a" * 64, 3.0)
    told = str(refused.value)
    assert told.startswith("labels: 97 % of the 5000 transactions with mature labels are fraud, if the 100 that live")
    assert "1.2 % of the 20000 that bundle aaaaaaaaaaaa was made on: more than 3 times apart" in told
    assert "says fraud of what was legitimate" in told


def test_a_feed_that_has_stopped_is_refused_even_if_all_that_was_blocked_was_fraud() -> None:
    with pytest.raises(UserError, match=r"only 0\.25 % .* if the 100 that live blocked .* were fraud.* has stopped"):
        require_near(Labelled(49_900, 25, 100), Labelled(20_000, 240), "a" * 64, 3.0)
    assert not is_refused(Labelled(49_900, 25, 600), Labelled(20_000, 240)), "they may hold what is missing"


def test_live_that_blocks_most_fraud_unseen_does_not_stop_its_rotation() -> None:
    """It was trained on files with every label: 1 %. It blocks 2 %, and 90 % of the fraud."""
    assert not is_refused(Labelled(98_000, 100, 2000), Labelled(100_000, 1000))


@pytest.mark.parametrize("times", [2.0, 3.0])
def test_chance_is_hardly_ever_refused_however_small_the_training(times: float) -> None:
    rng = np.random.default_rng(5)
    for known, of in ((400, 4000), (2000, 2000), (40_000, 1500)):
        share = 0.015
        drawn = zip(rng.binomial(known, share * times, 2000), rng.binomial(of, share, 2000), strict=True)
        refused = sum(is_refused(Labelled(known, int(a)), Labelled(of, int(b))) for a, b in drawn)
        assert refused <= 2000 * 0.005 + 4 * sqrt(2000 * 0.005), (known, of)


@given(counts, counts)
def test_either_way_is_judged_alike_and_unknown_ones_only_ever_excuse(one: Labelled, other: Labelled) -> None:
    assert is_refused(one, other) == is_refused(other, one)
    assert not is_refused(one, one)
    assert not is_refused(one, None)
    known = [Labelled(each.known, each.frauds) for each in (one, other)]
    if is_refused(one, other):
        # however they were labelled, the shares are far apart
        for frauds in (one.frauds, one.frauds + one.unknown):
            assert is_refused(Labelled(one.all, frauds), other)
        for frauds in (other.frauds, other.frauds + other.unknown):
            assert is_refused(one, Labelled(other.all, frauds))
    elif not one.unknown and not other.unknown:
        assert not is_refused(*known, factor=4.0)
