"""Intervals hold at all times at once, notice what they should, and fold into a verdict by the written rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.errors import SettingsError
from shadow import evidence
from shadow.criteria import Release, load, parse
from shadow.evidence import Interval
from shadow.gate import Decision, Judgement, Verdict, judge
from shadow.tally import ALL, Run, RunTotals, SegmentTotals

TUNED = 20_000


def part(
    both_allow: int, both_block: int, live_only: int, candidate_only: int, errors: int = 0, **more: Any
) -> SegmentTotals:
    counts = np.array([both_allow, both_block, live_only, candidate_only], dtype=np.int64)
    pairs = more.pop("pairs", counts[2:])
    return SegmentTotals(counts=counts, pairs=np.array(pairs, dtype=np.int64), errors=errors, **more)


# --- intervals ---


def looked_at(
    rng: np.random.Generator, block_rate: float, lost: float, added: float, steps: int = 40
) -> list[SegmentTotals]:
    """A run as it is looked at while it grows: live blocks a share, of which the candidate loses and adds shares."""
    n, steps = 2500, 40
    chances = [1 - block_rate * (1 + added), block_rate * (1 - lost), block_rate * lost, block_rate * added]
    sums = np.cumsum(rng.multinomial(n, chances, size=steps), axis=0)
    return [part(*row.tolist()) for row in sums]


@pytest.mark.parametrize(("lost", "added"), [(0.2, 0.2), (0.0, 0.3), (0.5, 0.1)])
@pytest.mark.parametrize("block_rate", [0.03, 0.005])
def test_bounds_looked_at_again_and_again_are_wrong_no_more_often_than_promised(
    block_rate: float, lost: float, added: float
) -> None:
    rng, alpha, runs = np.random.default_rng(4), 0.1, 300
    wrong = {"shift": 0, "disagreement": 0}
    for _ in range(runs):
        looks = looked_at(rng, block_rate, lost, added)
        for name, find, truth in (
            ("shift", evidence.block_shift, added - lost),
            ("disagreement", evidence.disagreement, added + lost),
        ):
            found = [find(look, alpha, TUNED) for look in looks]
            wrong[name] += any(i is not None and not i.low <= truth <= i.high for i in found)
    # 300 runs at 10 %: more than 45 wrong ones happen by chance in fewer than one of 300
    assert wrong["shift"] <= 45
    assert wrong["disagreement"] <= 45


def test_a_fixed_interval_would_have_been_wrong_far_more_often() -> None:
    """The reason for all this: a 90 % interval of one look, looked at forty times."""
    rng, wrong = np.random.default_rng(4), 0
    for _ in range(300):
        for look in looked_at(rng, 0.03, 0.2, 0.2):
            lost, added = look.counts[2:].tolist()
            if abs(added - lost) > 1.645 * math.sqrt(added + lost):
                wrong += 1
                break
    assert wrong > 90


def test_a_harmful_shift_is_noticed_and_a_harmless_one_is_passed() -> None:
    rng, runs = np.random.default_rng(5), 100
    noticed = passed = 0
    for _ in range(runs):
        harmful = evidence.block_shift(looked_at(rng, 0.03, 0.4, 0.0)[-1], 0.008, TUNED)
        harmless = evidence.block_shift(looked_at(rng, 0.03, 0.1, 0.1)[-1], 0.008, TUNED)
        assert harmful is not None
        assert harmless is not None
        noticed += harmful.high < -0.15
        passed += harmless.low >= -0.15 and harmless.high <= 0.15
    assert noticed >= 95
    assert passed >= 95


def test_excess_over_the_floor_is_none_for_a_twin_and_seen_for_another_model() -> None:
    rng = np.random.default_rng(6)
    twins = [looked_at(rng, 0.03, 0.15, 0.15)[-1] for _ in range(2)]
    same = evidence.excess_disagreement(*twins, 0.05, TUNED)
    assert same is not None
    assert same.low < 0 < same.high
    other = evidence.excess_disagreement(looked_at(rng, 0.03, 0.6, 0.6)[-1], twins[0], 0.05, TUNED)
    assert other is not None
    assert other.low > 0.5


counts = st.integers(0, 3000)


@given(counts, counts, counts, counts, st.floats(1e-4, 0.2))
def test_an_interval_holds_its_estimate(a: int, b: int, c: int, d: int, alpha: float) -> None:
    for find in (evidence.block_shift, evidence.disagreement):
        found = find(part(a, b, c, d), alpha, TUNED)
        if found is not None:
            assert found.low <= found.estimate <= found.high
            wider = find(part(a, b, c, d), alpha / 2, TUNED)
            assert wider is None or (wider.low <= found.low + 1e-9 and wider.high >= found.high - 1e-9)


@given(counts, counts, counts, counts)
def test_without_enough_blocks_of_live_there_is_no_interval(a: int, b: int, c: int, d: int) -> None:
    if b + c < 10:
        assert evidence.block_shift(part(a, b, c, d), 0.05, TUNED) is None


@given(st.integers(8, 500), st.integers(8, 500))
def test_clustered_cards_widen_the_interval(lost: int, added: int) -> None:
    apart = evidence.block_shift(part(50_000, 2000, lost, added), 0.05, TUNED)
    few = (lost // 4, added // 4)
    clustered = evidence.block_shift(part(50_000, 2000, lost, added, pairs=few), 0.05, TUNED)
    assert apart is not None
    assert clustered is not None
    assert clustered.high - clustered.low > 1.5 * (apart.high - apart.low)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1))
def test_differences_of_intervals_hold_the_differences(a: float, wide: float, b: float, wider: float) -> None:
    first, second = Interval(a, a - wide, a + wide), Interval(b, b - wider, b + wider)
    difference = first.minus(second)
    assert difference.low <= a - b <= difference.high
    assert first.negated().negated() == first
    assert first.negated().low == -first.high


def test_the_band_is_that_of_the_source() -> None:
    """Half width of the band at n = tuned_for, alpha 0.05, from the formula of the paper in its own variables."""
    n, alpha = 10_000, 0.05
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / n
    margin = math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha))
    assert evidence.squared_width(n, alpha, n) == pytest.approx(n * margin**2)
    assert all(evidence.squared_width(n, alpha, n) < evidence.squared_width(n, alpha, t) for t in (n // 3, 3 * n))


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
        errors=sum(p.errors for p in named.values()),
    )
    return RunTotals(Run(1, 1), {ALL: whole, **named}, hours, whole.errors, gap=gap, conflicts=conflicts)


def verdicts(judgement: Judgement) -> dict[tuple[str, str], Verdict]:
    return {(finding.criterion, finding.segment): finding.verdict for finding in judgement.findings}


def test_a_good_candidate_is_promoted() -> None:
    judgement = judge(a_run(), a_run(), RELEASE)
    assert judgement.decision is Decision.PROMOTE, judgement.reason
    assert len(judgement.findings) == 2 + 7 * len(RELEASE.segments.names)
    assert {f.segment for f in judgement.findings if f.excused} == {"country=other"}


@pytest.mark.parametrize(
    ("run", "criterion", "segment"),
    [
        (a_run(conflicts=1), "decision_conflicts", "all"),
        (a_run(gap=5000), "coverage", "all"),
        (a_run(FR=part(30_000, 950, 50, 50, errors=500)), "candidate_error_rate", "country=FR"),
        (a_run(FR=part(30_000, 200, 800, 0)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(30_000, 950, 0, 900)), "more_blocks", "country=FR"),
        (a_run(FR=part(30_000, 100, 900, 900)), "excess_disagreement", "country=FR"),
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
        (a_run(FR=part(30_000, 1000, 1, 1)), "disagreements", "country=FR"),
        (a_run(FR=part(30_000, 30, 5, 5)), "fewer_blocks", "country=FR"),
        (a_run(FR=part(31_000, 0, 0, 5)), "more_blocks", "country=FR"),
        (a_run(FR=part(31_000, 110, 90, 0)), "fewer_blocks", "country=FR"),  # -45 %, which may be chance
    ],
)
def test_thin_evidence_holds_and_never_passes(run: RunTotals, criterion: str, segment: str) -> None:
    judgement = judge(run, a_run(), RELEASE)
    assert judgement.decision is Decision.HOLD
    assert verdicts(judgement)[criterion, segment] is Verdict.INSUFFICIENT
    excused = replace_excuses(f"{criterion}: {segment}", "*_blocks: country=FR", "excess*: country=FR", "*: *=other")
    more = replace_excuses("*: country=FR", "covered_hours: all", "*: *=other")
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


@settings(max_examples=60)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 40_000), st.integers(0, 2000))
def test_more_harm_never_makes_the_verdict_better(lost: int, both: int, allow: int, extra: int) -> None:
    # The blocks that are lost grow; how many live blocked stays.
    milder = judge(a_run(FR=part(allow, both + extra, lost, 5)), a_run(), replace_excuses("*"))
    worse = judge(a_run(FR=part(allow, both, lost + extra, 5)), a_run(), replace_excuses("*"))
    fewer = ("fewer_blocks", "country=FR")
    ranks = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    if verdicts(milder)[fewer] is Verdict.FAIL:
        assert ranks[verdicts(worse)[fewer]] == 0


def test_error_rates_of_all_intervals_add_up_to_the_one_that_is_declared() -> None:
    spent = sum(3 * RELEASE.alpha(segment) for segment in RELEASE.segments.names)
    assert spent == pytest.approx(RELEASE.error_rate)


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
    assert parse(text).limits("country=DE").maximum_fewer_blocks == 0.4
    assert parse(text).limits(ALL).maximum_fewer_blocks == 0.15
