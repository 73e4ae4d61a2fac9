"""Planted harm is stopped where a segment is judged; where it may lack evidence, the challenge says so."""

from __future__ import annotations

import numpy as np
import pytest

from harness.totals import RELEASE, a_run, part
from shadow.comparison.totals import RunTotals
from shadow.gate.challenge import COPIES, challenge
from shadow.gate.criteria import parse
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Verdict

SEGMENTS = "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n"


def ample(times: int = 1) -> RunTotals:
    return a_run(
        400,
        DE=part(600_000 * times, 19_000 * times, 300 * times, 300 * times),
        FR=part(300_000 * times, 9_500 * times, 150 * times, 150 * times),
    )


def evidence(totals: RunTotals) -> Evidence:
    return Evidence(totals, totals, "", 100.0, (), (), None)


def test_ample_evidence_of_a_twin_could_have_failed_in_every_segment() -> None:
    found = challenge(evidence(ample()), RELEASE)
    assert found.stopped == 1.0
    assert set(found.segments.values()) == {1.0}
    assert found.copies == COPIES


def test_where_a_segment_may_lack_evidence_harm_in_it_is_not_stopped() -> None:
    release = parse(SEGMENTS + "may_stay_insufficient: ['*: country=FR', '*: all', '*: amount=*']\n")
    found = challenge(evidence(ample()), release)
    assert found.segments["country=FR"] == 0.0
    assert found.segments["country=DE"] == 1.0
    assert found.stopped < 0.95, "a third of the blocks, in one of two divisions"


def test_harm_has_the_size_of_the_limit_however_wide_that_is() -> None:
    wide = parse(
        SEGMENTS + "overall: &w {maximum_lost_fraud: 0.9, maximum_lost_fraud_amount: 0.9, maximum_fewer_blocks: 0.95, "
        "maximum_fewer_blocked_amount: 0.95, maximum_fewer_uncapped_amount: null, maximum_excess_disagreement: 0.9}\n"
        "per_segment: *w\n"
    )
    release = parse(SEGMENTS)
    narrow = challenge(evidence(ample()), release)
    assert challenge(evidence(ample()), wide).stopped == narrow.stopped == 1.0


def test_it_is_the_same_at_every_look_and_changes_nothing() -> None:
    seen = evidence(ample())
    before = seen.candidate.segments["all"].cells.copy()
    assert challenge(seen, RELEASE) == challenge(seen, RELEASE)
    assert np.array_equal(seen.candidate.segments["all"].cells, before)


def test_a_segment_in_which_live_blocks_nothing_is_no_place_for_harm() -> None:
    totals = a_run(400, DE=part(600_000, 19_000, 300, 300), FR=part(300_000, 0, 0, 40))
    assert "country=FR" not in challenge(evidence(totals), RELEASE).segments


@pytest.mark.parametrize("floor", [True, False])
def test_nothing_is_stopped_that_did_not_have_to_pass_before(floor: bool) -> None:
    """Evidence that holds anyway says nothing of harm; the challenge is for evidence that promotes."""
    totals = ample()
    seen = Evidence(totals, totals if floor else None, "none", 100.0, (), (), None)
    open_ones = {
        f.segment for f in judged(seen, RELEASE).findings if f.verdict is Verdict.INSUFFICIENT and not f.excused
    }
    assert open_ones <= {"all", "country=DE", "country=FR", "amount=<500"}
    assert 0 <= challenge(seen, RELEASE).stopped <= 1
