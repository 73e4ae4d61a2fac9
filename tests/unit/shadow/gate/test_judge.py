"""Findings lead to a decision by the written rules; thin evidence never passes, and reasons are true."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.totals import RELEASE, a_run, of_cards, part
from shadow.comparison.resets import CRITERIA, GAP, Reset
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.criteria import Release, parse
from shadow.gate.findings import Decision, Judgement, Verdict
from shadow.gate.judge import judge as judged
from shadow.gate.recency import TOO_SHORT

#: The runs are so short that the last days are not judged apart.
judge = partial(judged, recent=TOO_SHORT)

#: What only the candidate blocks is far dearer than the rest.
DEAR = {name: of_cards([800, 200, 4500], 500)[name] for name in ("money", "tops")}


def verdicts(judgement: Judgement) -> dict[tuple[str, str], Verdict]:
    return {(finding.criterion, finding.segment): finding.verdict for finding in judgement.findings}


def test_a_good_candidate_is_promoted() -> None:
    judgement = judge(a_run(), a_run(), RELEASE)
    assert judgement.decision is Decision.PROMOTE, judgement.reason
    named = [name for name in RELEASE.segments.names if not name.endswith("=other")]
    assert len(judgement.findings) == 2 + 12 * len(named) + 2, "no empty `other`; whole money of all traffic"
    assert judgement.others == ()


@pytest.mark.parametrize(
    ("run", "criterion", "segment"),
    [
        (a_run(conflicts=1), "decision_conflicts", "all"),
        (a_run(gap=5000), "coverage", "all"),
        (a_run(FR=part(30_000, 950, 50, 50, errors=500)), "candidate_error_rate", "country=FR"),
        (a_run(FR=part(30_000, 200, 800, 0)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(30_000, 950, 0, 2900)), "more_blocks", "country=FR"),
        (
            a_run(FR=part(30_000, 800, 200, 2000, **DEAR)),
            "more_blocked_amount",
            "country=FR",
        ),
    ],
)
def test_harm_in_one_segment_rejects_and_is_named(run: RunTotals, criterion: str, segment: str) -> None:
    judgement = judge(run, a_run(), RELEASE)
    assert judgement.decision is Decision.REJECT
    assert verdicts(judgement)[criterion, segment] is Verdict.FAIL
    assert f"{criterion} in {segment}" in judgement.reason
    assert judgement.findings[0].verdict is Verdict.FAIL, "the worst is not first"
    assert verdicts(judgement)["more_blocks", "country=DE"] is Verdict.PASS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "criterion", "segment"),
    [
        (a_run(hours=23), "covered_hours", "all"),
        (a_run(FR=part(400, 20, 5, 5)), "transactions", "country=FR"),
        (a_run(FR=part(30_000, 500, 500, 500)), "excess_disagreement", "country=FR"),
        (a_run(FR=part(30_000, 800, 200, 200)), "lost_fraud", "country=FR"),
        (a_run(FR=part(30_000, 700, 300, 300)), "lost_fraud_amount", "country=FR"),
        (a_run(FR=part(30_000, 30, 5, 5)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(31_000, 0, 0, 5)), "more_blocks", "country=FR"),
        (a_run(FR=part(31_000, 150, 60, 0)), "fewer_blocks", "country=FR"),  # -29 %, which may be chance
    ],
)
def test_thin_evidence_holds_and_can_be_excused(run: RunTotals, criterion: str, segment: str) -> None:
    judgement = judge(run, a_run(), RELEASE)
    assert judgement.decision is Decision.HOLD
    assert verdicts(judgement)[criterion, segment] is Verdict.INSUFFICIENT
    excused = replace_excuses(f"{criterion}: {segment}", "*_block*: country=FR", "excess*: *")
    more = replace_excuses("*: country=FR", "excess*: *", "lost*: *", "insults*: *", "covered*: all")
    assert judge(run, a_run(), more).decision is Decision.PROMOTE
    assert next(
        f for f in judge(run, a_run(), excused).findings if (f.criterion, f.segment) == (criterion, segment)
    ).excused


def replace_excuses(*patterns: str) -> Release:
    return RELEASE.model_copy(update={"may_stay_insufficient": patterns})


def test_a_disagreement_within_the_floors_limit_hides_no_harm() -> None:
    """8 % of live's blocks swapped: together far below what the sides may be, each beyond its own limit."""
    swapped = a_run(DE=part(60_000, 1750, 250, 250), FR=part(30_000, 875, 125, 125))
    wide = parse(
        "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n"
        "overall: {maximum_excess_disagreement: 0.3, maximum_insults: 0.3}\n"
    )
    judgement = judge(swapped, a_run(), wide)
    found = verdicts(judgement)
    assert found["excess_disagreement", "all"] is Verdict.PASS
    assert found["lost_fraud", "all"] is Verdict.INSUFFICIENT
    assert judgement.decision is Decision.HOLD
    reason = next(f.reason for f in judgement.findings if (f.criterion, f.segment) == ("lost_fraud", "all"))
    assert reason.startswith("Live alone blocks 7.5 % of live's blocks beyond the A/A control (upper bound ")
    assert "reviews needed, none yet" in reason


def test_where_the_sides_are_small_no_review_is_needed() -> None:
    by_name = {(f.criterion, f.segment): f for f in judge(a_run(), a_run(), RELEASE).findings}
    finding = by_name["insults", "all"]
    assert finding.verdict is Verdict.PASS
    assert finding.reason.endswith("limit 10.0 %; no review needed")
    assert finding.bound is not None
    assert 0 < finding.bound <= 0.1


def test_without_a_control_the_excess_stays_insufficient() -> None:
    judgement = judge(a_run(), None, RELEASE)
    assert judgement.decision is Decision.HOLD
    finding = next(f for f in judgement.findings if (f.criterion, f.segment) == ("excess_disagreement", "all"))
    assert finding.verdict is Verdict.INSUFFICIENT
    assert "seed twin" in finding.reason


def test_a_run_without_comparisons_is_not_promoted() -> None:
    empty = RunTotals(Run(1, 1), {}, 0)
    assert judge(empty, empty, replace_excuses("*")).decision is Decision.HOLD


def test_a_record_dated_far_in_the_future_covers_one_hour_only() -> None:
    """Hours are counted, never subtracted: one hour is one hour, whenever it is."""
    assert judge(replace(a_run(), hours=1), a_run(), RELEASE).decision is Decision.HOLD


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 40_000), st.integers(0, 2000))
def test_more_harm_never_improves_the_verdict(lost: int, both: int, allow: int, extra: int) -> None:
    # The blocks that are lost grow; how many live blocked stays.
    milder = judge(a_run(FR=part(allow, both + extra, lost, 5)), a_run(), replace_excuses("*"))
    worse = judge(a_run(FR=part(allow, both, lost + extra, 5)), a_run(), replace_excuses("*"))
    fewer = ("fewer_blocks", "country=FR")
    ranks = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    if verdicts(milder)[fewer] is Verdict.FAIL:
        assert ranks[verdicts(worse)[fewer]] == 0


def test_missing_evidence_is_estimated_in_transactions_and_days() -> None:
    judgement = judge(a_run(FR=part(8000, 60, 9, 9)), a_run(), RELEASE)
    finding = next(f for f in judgement.findings if (f.criterion, f.segment) == ("more_blocks", "country=FR"))
    assert finding.verdict is Verdict.INSUFFICIENT
    assert finding.more is not None
    assert finding.days is not None
    times = 1 + finding.days / 2
    more = part(*(round(times * n) for n in (8000, 60, 9, 9)))
    again = next(
        f
        for f in judge(a_run(FR=more), a_run(), RELEASE).findings
        if (f.criterion, f.segment) == ("more_blocks", "country=FR")
    )
    assert again.verdict is Verdict.PASS
    assert f"{finding.more:,} more transactions" in finding.reason


def test_every_rate_of_disagreement_is_given_beside_that_of_the_control() -> None:
    judgement = judge(a_run(FR=part(30_000, 800, 200, 300)), a_run(), RELEASE)
    rates = {(rate.segment, rate.outcome): rate for rate in judgement.rates}
    assert {outcome for _, outcome in rates} == {"live_only", "candidate_only", "either"}
    assert {segment for segment, _ in rates} == {"all", "country=DE", "country=FR", "amount=<500"}
    fr = rates["country=FR", "candidate_only"]
    assert fr.observed == pytest.approx(0.3)
    assert fr.floor == pytest.approx(0.05)
    assert fr.low < 0.25 < fr.high
    assert fr.low > 0.1
    shift = next(f for f in judgement.findings if (f.criterion, f.segment) == ("more_blocks", "country=FR"))
    assert shift.floor == pytest.approx(0.0)


def test_the_most_suspicious_segment_is_named_first() -> None:
    judgement = judge(a_run(DE=part(2000, 60, 3, 3), FR=part(2000, 60, 3, 16)), a_run(), RELEASE)
    assert judgement.decision is Decision.HOLD
    assert judgement.reason.startswith("hold: evidence still missing for more_bl")
    assert "in country=FR" in judgement.reason.split(",")[0]


@pytest.mark.slow
def test_criteria_that_changed_within_a_run_hold_until_a_new_run_begins() -> None:
    """Limits that somebody chose with the evidence before their eyes promise nothing."""
    hours = tuple(range(100, 148))
    plain = replace(a_run(), covered=hours)
    assert judge(plain, a_run(), RELEASE).decision is Decision.PROMOTE
    edited = judge(replace(plain, resets=(Reset(105, CRITERIA),)), a_run(), RELEASE)
    assert edited.decision is Decision.HOLD
    reason = next(f.reason for f in edited.findings if f.criterion == "covered_hours")
    assert "changed within the run" in reason
    assert "deploy the candidate again" in reason
    assert judge(replace(plain, resets=(Reset(105, GAP),)), a_run(), RELEASE).decision is Decision.PROMOTE
