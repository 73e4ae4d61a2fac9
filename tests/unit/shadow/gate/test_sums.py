"""Ratios made of sums compare rates, however long each run is."""

from __future__ import annotations

import math

import pytest

from harness.totals import CAP, RELEASE, a_run, part
from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.totals import RunTotals, SegmentTotals
from shadow.gate.claims import within_floor
from shadow.gate.criteria import Criterion
from shadow.gate.sums import (
    CUT,
    WHOLE,
    Sums,
    amount_shift,
    card_shift,
    counted_amount_shift,
    counted_shift,
    excess,
)

NAMES = RELEASE.segments.names


@pytest.mark.parametrize("times", [0.25, 0.5, 1, 2, 8])
def test_a_longer_control_hides_no_excess_and_a_shorter_one_creates_none(times: float) -> None:
    def control(live_only: int, candidate_only: int) -> RunTotals:
        both = 2000 - live_only
        counts = [int(n * times) for n in (60_000, both, live_only, candidate_only)]
        return a_run(DE=part(*counts))

    def beyond(candidate: SegmentTotals) -> tuple[float, bool]:
        """The excess in Germany, and whether it is known to be below the limit."""
        ratio = excess(*(Sums.of(run, NAMES) for run in (a_run(DE=candidate), control(100, 100))))
        is_small = ratio.log_below(RELEASE.limit(Criterion.EXCESS_DISAGREEMENT)) >= -math.log(RELEASE.promote_error)
        return float(ratio.estimate[1]), bool(is_small[1])

    observed, is_small = beyond(part(60_000, 1900, 100, 100))
    assert observed == pytest.approx(0, abs=0.005), "the floor is a rate, however long it was measured"
    assert is_small
    observed, is_small = beyond(part(60_000, 1500, 500, 500))
    assert observed == pytest.approx(0.4, abs=0.005)
    assert not is_small


def test_a_run_that_has_seen_more_of_live_weighs_less_and_proves_no_more() -> None:
    candidate = Sums.of(a_run(), NAMES)
    evidence = [
        within_floor(
            candidate, Sums.of(a_run(DE=part(*(n * times for n in (60_000, 1900, 100, 100)))), NAMES), RELEASE
        ).log_within()[1]
        for times in (1, 2, 50)
    ]
    assert evidence == pytest.approx([evidence[0]] * 3), "of its own two weeks the candidate has no more than that"
    empty = Sums.of(a_run(DE=part(0, 0, 0, 0)), NAMES)
    assert within_floor(candidate, empty, RELEASE).log_within()[1] <= 0, "no control, no evidence"


def test_a_segment_that_a_run_lacks_is_empty() -> None:
    sums = Sums.of(a_run(), NAMES)
    assert NAMES[3] == "country=other"
    assert (sums.compared[3], sums.live_blocks[3], sums.disagreements[3]) == (0, 0, 0)
    assert sums.compared.tolist() == [93_150, 62_100, 31_050, 0, 93_150, 0, 0]
    assert sums.live_blocks[1] == 2000


def test_a_shift_is_the_difference_of_blocks_as_a_share_of_lives() -> None:
    sums = Sums.of(a_run(FR=part(30_000, 900, 100, 50)), NAMES)
    for found in (card_shift(sums), amount_shift(sums, CUT), amount_shift(sums, WHOLE)):
        assert found.estimate[2] == pytest.approx((50 - 100) / 1000), "all amounts are equal"
    assert counted_shift(sums)[2] == pytest.approx((50 - 100) / 1000)
    dear = part(30_000, 900, 100, 50, capped=[900 * CAP // 2, 100 * CAP // 2, 50 * CAP])
    assert counted_amount_shift(Sums.of(a_run(FR=dear), NAMES))[2] == pytest.approx((50 - 50) / 500)


def test_one_side_of_the_excess_counts_only_its_own_disagreements() -> None:
    candidate, control = (Sums.of(run, NAMES) for run in (a_run(DE=part(60_000, 1700, 300, 100)), a_run()))
    found = {side: float(excess(candidate, control, (side,)).estimate[1]) for side in DISAGREEMENTS}
    assert found[Outcome.LIVE_ONLY] == pytest.approx(0.1)
    assert found[Outcome.CANDIDATE_ONLY] == pytest.approx(0.0)
