"""A claim weighs evidence for and against its limit, and forecasts how much more it needs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shadow.gate.claims import FACTORS, OTHER_ERROR, ChangeClaim, overlooked, shares, smallest_factor
from shadow.gate.criteria import Criterion, Release
from shadow.gate.sums import Sums
from shadow.statistics.clusters import KindRatio

BAR = math.log(200)


def kinds(more: float, fewer: float, both: float) -> KindRatio:
    """Card-days that only the candidate blocks, only live, and both."""
    return KindRatio(np.array([1.0, -1, 0]), np.array([0.0, 1, 1]), np.array([[more, fewer, both]]))


def a_claim(more: float, fewer: float, both: float = 400, sign: int = 1, limit: float = 0.2) -> ChangeClaim:
    """That blocks change by at most a limit: `more` are added and `fewer` are dropped, beside those of both models."""
    return ChangeClaim(Criterion.MORE_BLOCKS, kinds(more, fewer, both), None, np.array([limit]), sign)


def test_the_other_sign_mirrors_the_ratio() -> None:
    rise, fall = a_claim(30, 10), a_claim(30, 10, sign=-1)
    up, down = rise.interval(0.01), fall.interval(0.01)
    assert down.estimate == pytest.approx(-up.estimate)
    assert down.low == pytest.approx(-up.high)
    assert down.high == pytest.approx(-up.low)
    assert fall.log_within() > rise.log_within() > 0, "20 of 410 more is farther from 20 % fewer than from 20 % more"
    assert rise.log_beyond() < 0
    assert fall.log_beyond() < 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_plain_count_beyond_the_limit_lets_nothing_pass(sign: int) -> None:
    claims = [
        ChangeClaim(Criterion.MORE_BLOCKS, kinds(20, 20, 400), np.array([sign * counted]), np.array([0.2]), sign)
        for counted in (0.19, 0.21)
    ]
    assert [bool((claim.log_within() >= BAR).all()) for claim in claims] == [True, False]
    assert [float(claim.interval(0.01).estimate[0]) for claim in claims] == pytest.approx([0.19, 0.21])
    assert claims[1].log_within() == 0, "no evidence, rather than evidence against it"


def test_the_forecast_is_the_smallest_factor_that_settles_the_claim() -> None:
    claim = a_claim(6, 2, both=60)
    (times,) = claim.times_needed(BAR)
    at = FACTORS.tolist().index(times)
    assert at > 0
    for factor, settles in ((FACTORS[at], True), (FACTORS[at - 1], False)):
        assert (claim.measure.times(factor).log_below(claim.limit) >= BAR).tolist() == [settles]


def test_a_ratio_at_its_limit_is_not_decidable() -> None:
    assert np.isnan(a_claim(80, 0).times_needed(BAR)).all()


def test_the_smallest_factor_that_settles_is_chosen_for_each_segment() -> None:
    settled = FACTORS[:, None] >= np.array([FACTORS[3], FACTORS[0], 1e9])
    assert smallest_factor(settled).tolist()[:2] == [FACTORS[3], FACTORS[0]]
    assert math.isnan(smallest_factor(settled)[2])


@pytest.mark.parametrize("n_segments", [1, 2, 40])
def test_the_error_of_a_rejection_is_split_without_rest(n_segments: int) -> None:
    found = shares(0.5, n_segments, 8)
    assert found.shape == (8, n_segments)
    assert found.sum() == pytest.approx(1)
    assert found[:, 0].sum() == pytest.approx(0.5 if n_segments > 1 else 1.0)


def test_a_small_other_is_overlooked_and_one_of_twice_the_share_hardly_ever_is() -> None:
    """At the default of 1 %, after 2,800 card-days that live blocks; also if somebody looks a hundred times."""
    release = Release.model_validate({"schema": 1})
    is_other = release.others
    chance = np.random.default_rng(4)

    def small(share: float, runs: int) -> np.ndarray:
        mine, rest = (chance.poisson(28 * part, (runs, 100)).cumsum(axis=1) for part in (share, 1 - share))
        blocks = np.where(is_other, mine[..., None], (mine + rest)[..., None]).astype(float)
        cells = np.zeros((*blocks.shape, 8))
        cells[..., 1] = blocks
        counts = np.stack([100 * blocks, blocks, 0 * blocks, 0 * blocks], axis=-1)
        nothing = np.zeros(blocks.shape)
        money = np.zeros((*blocks.shape, 2, 11)), np.zeros((*blocks.shape, 2, 3))
        return overlooked(Sums(counts, counts[..., 1:], cells, *money, nothing), release)[..., is_other].any(axis=-1)

    assert small(0.004, 500)[:, -1].mean() >= 0.9
    assert small(0.01, 2000).any(axis=1).mean() <= OTHER_ERROR
    assert small(0.02, 2000).any(axis=1).mean() < 0.01
    assert not overlooked_without_a_share(release)


def overlooked_without_a_share(release: Release) -> bool:
    nothing = release.model_copy(update={"maximum_other_share": 0.0})
    n = len(release.segments.names)
    counts, cells = np.full((n, 4), 1000.0), np.full((n, 8), 1000.0)
    sums = Sums(counts, counts[..., 1:], cells, np.zeros((n, 2, 11)), np.zeros((n, 2, 3)), np.zeros(n))
    return bool(overlooked(sums, nothing).any())
