"""Evidence folds into a verdict by the written rules; thin evidence never passes, and reasons say what is so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.errors import SettingsError
from shadow.claims import Sums, within_floor
from shadow.criteria import Release, load, parse
from shadow.findings import Decision, Judgement, Verdict
from shadow.gate import judge
from shadow.measure import Progress, measure
from shadow.tally import ALL, CAP_PARTS, Run, RunTotals, SegmentTotals

CAP = 50_000


def part(
    both_allow: int, both_block: int, live_only: int, candidate_only: int, errors: int = 0, **more: Any
) -> SegmentTotals:
    """Every amount is half of the cap."""
    counts = np.array([both_allow, both_block, live_only, candidate_only], dtype=np.int64)
    pairs = np.array(more.pop("pairs", counts[2:]), dtype=np.int64)
    more = {"capped": counts[1:] * (CAP // 2), "squares": counts[2:] * (CAP_PARTS // 2) ** 2} | more
    more = {name: np.array(value, dtype=np.int64) for name, value in more.items()}
    return SegmentTotals(counts=counts, pairs=pairs, errors=errors, **more)


# --- criteria ---

CRITERIA = """
schema: 1
segments:
  country: {field: country, values: [DE, FR]}
minimum_covered_hours: 24
"""
RELEASE = parse(CRITERIA)


def a_run(hours: int = 48, gap: int = 0, conflicts: int = 0, **segments: SegmentTotals) -> RunTotals:
    named = {"country=DE": part(60_000, 1900, 100, 100), "country=FR": part(30_000, 950, 50, 50)}
    named |= {f"country={name}": totals for name, totals in segments.items()}
    whole = SegmentTotals(
        counts=sum((p.counts for p in named.values()), np.zeros(4, np.int64)),
        pairs=sum((p.pairs for p in named.values()), np.zeros(2, np.int64)),
        capped=sum((p.capped for p in named.values()), np.zeros(3, np.int64)),
        squares=sum((p.squares for p in named.values()), np.zeros(2, np.int64)),
        errors=sum(p.errors for p in named.values()),
    )
    return RunTotals(Run(1, 1), {ALL: whole, **named}, hours, whole.errors, gap=gap, conflicts=conflicts)


def verdicts(judgement: Judgement) -> dict[tuple[str, str], Verdict]:
    return {(finding.criterion, finding.segment): finding.verdict for finding in judgement.findings}


def test_a_good_candidate_is_promoted() -> None:
    judgement = judge(a_run(), a_run(), RELEASE)
    assert judgement.decision is Decision.PROMOTE, judgement.reason
    assert len(judgement.findings) == 2 + 8 * len(RELEASE.segments.names)
    assert {f.segment for f in judgement.findings if f.excused} == {"country=other"}


@pytest.mark.parametrize(
    ("run", "criterion", "segment"),
    [
        (a_run(conflicts=1), "decision_conflicts", "all"),
        (a_run(gap=5000), "coverage", "all"),
        (a_run(FR=part(30_000, 950, 50, 50, errors=500)), "candidate_error_rate", "country=FR"),
        (a_run(FR=part(30_000, 200, 800, 0)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(30_000, 950, 0, 900)), "more_blocks", "country=FR"),
        (
            a_run(FR=part(30_000, 800, 200, 200, capped=[20_000_000, 5_000_000, 30_000_000])),
            "more_blocked_amount",
            "country=FR",
        ),
    ],
)
def test_harm_in_one_segment_is_enough_to_reject_and_is_named(run: RunTotals, criterion: str, segment: str) -> None:
    judgement = judge(run, a_run(), RELEASE)
    assert judgement.decision is Decision.REJECT
    assert verdicts(judgement)[criterion, segment] is Verdict.FAIL
    assert f"{criterion} in {segment}" in judgement.reason
    assert judgement.findings[0].verdict is Verdict.FAIL, "the worst is not first"
    assert verdicts(judgement)["more_blocks", "country=DE"] is Verdict.PASS


@pytest.mark.parametrize(
    ("run", "criterion", "segment"),
    [
        (a_run(hours=23), "covered_hours", "all"),
        (a_run(FR=part(400, 20, 5, 5)), "transactions", "country=FR"),
        (a_run(FR=part(30_000, 500, 500, 500)), "excess_disagreement", "country=FR"),
        (a_run(FR=part(30_000, 30, 5, 5)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(31_000, 0, 0, 5)), "more_blocks", "country=FR"),
        (a_run(FR=part(31_000, 150, 60, 0)), "fewer_blocks", "country=FR"),  # -29 %, which may be chance
    ],
)
def test_thin_evidence_holds_and_never_passes(run: RunTotals, criterion: str, segment: str) -> None:
    judgement = judge(run, a_run(), RELEASE)
    assert judgement.decision is Decision.HOLD
    assert verdicts(judgement)[criterion, segment] is Verdict.INSUFFICIENT
    excused = replace_excuses(f"{criterion}: {segment}", "*_block*: country=FR", "excess*: *", "*: *=other")
    more = replace_excuses("*: country=FR", "excess*: all", "covered_hours: all", "*: *=other")
    assert judge(run, a_run(), more).decision is Decision.PROMOTE
    assert next(
        f for f in judge(run, a_run(), excused).findings if (f.criterion, f.segment) == (criterion, segment)
    ).excused


def replace_excuses(*patterns: str) -> Release:
    return RELEASE.model_copy(update={"may_stay_insufficient": patterns})


def test_without_a_control_the_excess_is_not_judged() -> None:
    judgement = judge(a_run(), None, RELEASE)
    assert judgement.decision is Decision.HOLD
    finding = next(f for f in judgement.findings if (f.criterion, f.segment) == ("excess_disagreement", "all"))
    assert finding.verdict is Verdict.INSUFFICIENT
    assert "seed twin" in finding.reason


def test_nothing_compared_is_no_promotion() -> None:
    empty = RunTotals(Run(1, 1), {}, 0)
    assert judge(empty, empty, replace_excuses("*")).decision is Decision.HOLD


def test_a_record_of_the_far_future_covers_no_hour_more() -> None:
    """Hours are counted, never subtracted: one hour is one hour, whenever it is."""
    assert judge(replace(a_run(), hours=1), a_run(), RELEASE).decision is Decision.HOLD


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 40_000), st.integers(0, 2000))
def test_more_harm_never_makes_the_verdict_better(lost: int, both: int, allow: int, extra: int) -> None:
    # The blocks that are lost grow; how many live blocked stays.
    milder = judge(a_run(FR=part(allow, both + extra, lost, 5)), a_run(), replace_excuses("*"))
    worse = judge(a_run(FR=part(allow, both, lost + extra, 5)), a_run(), replace_excuses("*"))
    fewer = ("fewer_blocks", "country=FR")
    ranks = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    if verdicts(milder)[fewer] is Verdict.FAIL:
        assert ranks[verdicts(worse)[fewer]] == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("segments: {}", "schema"),
        ("schema: 2", "schema"),
        ("schema: 1\nspeed: 3", "speed"),
        ("schema: 1\noverall: {minimum_coverage: 2}", "overall.minimum_coverage"),
        ("schema: 1\nexceptions: {country=XX: {}}", "country=XX is no declared segment"),
        ("schema: [", "not YAML"),
        ("", "the file"),
    ],
)
def test_criteria_that_make_no_sense_name_the_field(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match="SHADOW_RELEASE"):
        load(tmp_path / "none.yaml")


def test_the_digest_is_of_what_is_said_not_how() -> None:
    assert parse(CRITERIA).digest == parse("# a remark\n" + CRITERIA).digest
    assert parse(CRITERIA).digest != parse(CRITERIA.replace("24", "25")).digest


def test_a_segment_may_have_limits_of_its_own() -> None:
    text = CRITERIA + "exceptions: {country=FR: {maximum_fewer_blocks: 0.9}}\n"
    assert parse(text).limits("country=FR").maximum_fewer_blocks == 0.9
    assert parse(text).limits("country=DE").maximum_fewer_blocks == 0.25
    assert parse(text).limits(ALL).maximum_fewer_blocks == 0.1


# --- a path of looks in one call ---


def totals_at(path: Sums, look: int, hours: int) -> RunTotals:
    fields = ("counts", "capped", "squares", "pairs", "errors")
    parts = {}
    for at, name in enumerate(RELEASE.segments.names):
        values = {field: getattr(path, field)[look, at].astype(np.int64) for field in fields}
        parts[name] = SegmentTotals(**values | {"errors": int(values["errors"])})
    return RunTotals(Run(1, 1), parts, hours, conflicts=int(look >= 45))


@pytest.mark.parametrize("harm", [0.0, 0.6])
def test_a_path_of_looks_in_one_call_says_what_single_looks_say(harm: float) -> None:
    rng, looks, n = np.random.default_rng(9), 48, len(RELEASE.segments.names)

    def a_path(lost: float) -> Sums:
        chances = np.array([[0.97, 0.03 * (0.85 - share), 0.03 * (0.15 + share), 0.0045] for share in (0, 0, lost, 0)])
        hourly = np.stack([rng.multinomial(1500, row / row.sum(), looks) for row in chances], axis=1)
        hourly[:, 0] = hourly[:, 1:].sum(axis=1)
        counts = hourly.cumsum(axis=0).astype(np.float64)
        errors = rng.poisson(0.1, (looks, n)).cumsum(axis=0).astype(np.float64)
        return Sums(counts, counts[..., 1:] * 9000, counts[..., 2:] * 180**2, counts[..., 2:] // 1.2, errors)

    candidate, control = a_path(harm), a_path(0.0)
    hours, look = np.arange(1, looks + 1), np.arange(looks)
    progress = Progress(hours, (look >= 45).astype(np.int64), np.zeros(looks, np.int64))
    path = measure(candidate, control, progress, RELEASE, CAP)
    seen = set()
    for t in range(looks):
        single = judge(totals_at(candidate, t, t + 1), totals_at(control, t, t + 1), RELEASE)
        assert {Decision.PROMOTE: 1, Decision.HOLD: 0, Decision.REJECT: -1}[single.decision] == path.decisions[t]
        codes = {Verdict.PASS: 1, Verdict.INSUFFICIENT: 0, Verdict.FAIL: -1}
        found = {key: codes[verdict] for key, verdict in verdicts(single).items()}
        for row in path.rows:
            for at, name in enumerate(RELEASE.segments.names):
                assert found[row.criterion, name] == row.codes[t, at], (t, row.criterion, name)
        seen.add(single.decision)
    assert len(seen) >= 2, "the path says the same all the time"


def test_what_is_missing_is_told_in_transactions_and_days() -> None:
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
    assert f"{finding.more} more transactions" in finding.reason


def test_every_rate_of_disagreement_stands_beside_the_controls() -> None:
    judgement = judge(a_run(FR=part(30_000, 800, 200, 300)), a_run(), RELEASE)
    rates = {(rate.segment, rate.outcome): rate for rate in judgement.rates}
    assert {outcome for _, outcome in rates} == {"live_only", "candidate_only", "either"}
    assert {segment for segment, _ in rates} == {"all", "country=DE", "country=FR"}
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
    assert judgement.reason.startswith("hold: not enough evidence on more_bl")
    assert "in country=FR" in judgement.reason.split(",")[0]


# --- a control that has seen more, or less, than the candidate ---


@pytest.mark.parametrize("times", [0.25, 0.5, 1, 2, 8])
def test_a_control_that_ran_for_longer_hides_no_excess_and_a_late_one_makes_none(times: float) -> None:
    def control(live_only: int, candidate_only: int) -> RunTotals:
        both = 2000 - live_only
        counts = [int(n * times) for n in (60_000, both, live_only, candidate_only)]
        return a_run(DE=part(*counts))

    def excess(candidate: SegmentTotals) -> Any:
        judgement = judge(a_run(DE=candidate), control(100, 100), RELEASE)
        return next(f for f in judgement.findings if (f.criterion, f.segment) == ("excess_disagreement", "country=DE"))

    twin = excess(part(60_000, 1900, 100, 100))
    assert twin.observed == pytest.approx(0, abs=0.005), "the floor is a rate, however long it was measured"
    assert twin.verdict is Verdict.PASS
    apart = excess(part(60_000, 1500, 500, 500))
    assert apart.observed == pytest.approx(0.4, abs=0.005)
    assert apart.verdict is Verdict.INSUFFICIENT


def test_what_has_seen_more_of_live_weighs_less_and_proves_no_more() -> None:
    names = RELEASE.segments.names
    candidate = Sums.of(a_run(), names)
    evidence = [
        within_floor(
            candidate, Sums.of(a_run(DE=part(*(n * times for n in (60_000, 1900, 100, 100)))), names), RELEASE
        ).log_within()[1]
        for times in (1, 2, 50)
    ]
    assert evidence == pytest.approx([evidence[0]] * 3), "of its own two weeks the candidate has no more than that"
    empty = Sums.of(a_run(DE=part(0, 0, 0, 0)), names)
    assert within_floor(candidate, empty, RELEASE).log_within()[1] <= 0, "no control, no evidence"
