"""Evidence on clusters of any size: never more than somebody who bets on each would have, and none of the unknown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.statistics.clusters import BET_SIZES, BET_STAKES, ClusterRatio, KindRatio
from shadow.statistics.eprocess import BETS, STAKES

BOUND = 8.0
#: What both block, live alone, and the candidate alone.
clusters = st.lists(st.tuples(*[st.floats(0, 30)] * 3), min_size=1, max_size=12)
STAKED = list(zip(BET_STAKES.tolist(), BET_SIZES.tolist(), strict=True))


def ratio_of(found: list[tuple[float, float, float]], **tops: Any) -> ClusterRatio:
    both, live, candidate = np.array(found).T
    d, t = candidate - live, both + live
    h = np.minimum(t, BOUND)
    sums = [d, t, h, d * d, d * t, t * t, d * h, h * h, live * live, candidate * candidate]
    most = {"gain": candidate.max(), "loss": live.max(), "most": t.max()} | tops
    heaviest = {name: np.array(value) for name, value in most.items()}
    return ClusterRatio(*(np.array(part.sum()) for part in sums), **heaviest, bound=BOUND)


def test_the_stakes_are_no_more_than_a_fortune() -> None:
    assert math.fsum(BET_STAKES) == pytest.approx(1, abs=1e-12)
    assert (BET_STAKES > 0).all()
    assert (BET_SIZES > 0).all()


@given(clusters, st.floats(-2, 3), st.booleans())
def test_evidence_is_never_more_than_the_fortune_of_one_who_bets_on_each_cluster(
    found: list[tuple[float, float, float]], share: float, above: bool
) -> None:
    """The fortune itself, multiplied cluster by cluster, with every bet that no cluster could bankrupt."""
    ratio, sign = ratio_of(found), 1 if above else -1
    each = -sign * share
    fortunes = []
    for stake, bet in STAKED:
        size = bet / (1 + max(-each, 0.0))
        payoffs = [sign * (c - one) + each * (b + one) for b, one, c in found]
        fortune = math.prod(max(0.0, 1 + size * payoff) for payoff in payoffs)
        fortunes.append(stake * fortune)
    told = float(ratio.log_above(share) if above else ratio.log_below(share))
    assert told <= math.log(sum(fortunes) + 1e-300) + 1e-6


def test_where_the_heaviest_cluster_is_unknown_there_is_no_evidence() -> None:
    found = [(1.0, 0.0, 0.0)] * 500
    assert float(ratio_of(found).log_below(0.5)) > 20
    for top in ("gain", "loss", "most"):
        unknown = ratio_of(found, **{top: np.inf})
        assert float(unknown.log_below(0.5)) == float(unknown.log_above(-0.5)) == -math.inf
        interval = unknown.bounds(0.01, -10.0, 50.0)
        assert (float(interval.low), float(interval.high)) == (-10.0, 50.0)


def test_a_bound_is_far_off_while_one_cluster_is_most_of_all() -> None:
    crowd, giant = [(1.0, 0.05, 0.05)] * 1000, (0.0, 400.0, 0.0)
    with_it, without = ratio_of([*crowd, giant]), ratio_of(crowd)
    assert float(without.bounds(0.01, -10.0, 50.0).low) > -0.1
    assert float(with_it.bounds(0.01, -10.0, 50.0).low) < -0.6


def test_kinds_are_added_up_as_single_clusters_are() -> None:
    kinds = KindRatio(np.array([1.0, -1, 0]), np.array([0.0, 1, 1]), np.array([[30.0, 20, 400]]))
    fortunes = [(1 - b / 1.0) ** 30 * (1 + 1.2 * b) ** 20 * (1 + 0.2 * b) ** 400 for b in BETS]
    by_hand = np.log(STAKES @ fortunes)
    assert float(kinds.log_below(np.array([0.2]))[0]) == pytest.approx(float(by_hand))
    assert float(kinds.estimate[0]) == pytest.approx(10 / 420)
    assert np.isnan(kinds.times(0.0).estimate).all()
