"""A verdict in a sentence, the one thing that holds a release, and what helps against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.totals import RELEASE, a_run, part
from shadow.comparison.totals import ALL
from shadow.gate import wording
from shadow.gate.clean_period import CleanPeriod
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Decision, Finding, Judgement, Verdict
from shadow.gate.judge import ENOUGH, judge
from shadow.release import sentences
from shadow.release.sentences import NAMES, PAIRS, Help, obstacles, reason_of, steps, verdict

BAD = a_run(DE=part(60_000, 500, 1_500, 9_000))


def a_finding(criterion: Criterion = Criterion.MORE_BLOCKS, **more: Any) -> Finding:
    given = {"segment": ALL, "observed": 0.1, "bound": 0.3, "limit": 0.1, "verdict": Verdict.INSUFFICIENT}
    return Finding(**{"criterion": criterion, "reason": "Blocks 10.0 % more than live", **given, **more})


def a_judgement(*findings: Finding, decision: Decision = Decision.HOLD, **more: Any) -> Judgement:
    return Judgement(decision, findings, 10, 24, "L1-C1", **more)


def test_every_criterion_has_a_name_and_only_pairs_share_one() -> None:
    assert set(NAMES) == set(Criterion)
    assert all(NAMES[one] == NAMES[other] for one, other in PAIRS)
    assert len(set(NAMES.values())) == len(Criterion) - len(PAIRS)


def test_a_rejection_names_where_how_much_and_the_limit_and_no_identifier() -> None:
    judgement = judge(BAD, a_run(), RELEASE)
    told = verdict(judgement, obstacles(judgement, BAD))
    assert told.startswith("Rejected. Country DE: blocks 375.0 % more than live; limit 25.0 % more.")
    assert "more limits are exceeded" in told
    assert "more_blocks" not in told


def test_what_is_ready_says_that_a_person_decides_and_what_was_not_judged() -> None:
    judgement = judge(a_run(hours=48), a_run(), RELEASE)
    excused = a_finding(segment="country=other", excused=True)
    ready = replace(judgement, decision=Decision.PROMOTE, findings=(*judgement.findings, excused))
    assert verdict(ready, []).startswith(f"Ready to release: {ready.passed} checks pass, none fails; not judged: ")
    assert "country other" in verdict(ready, [])
    assert verdict(ready, []).endswith("A person decides.")


def test_nothing_compared_is_a_hold_with_a_mend() -> None:
    empty = a_judgement()
    assert verdict(empty, obstacles(empty)) == "On hold: nothing was compared yet."
    (step,) = steps("candidate", empty, [], 0, None, "")
    assert step.command == "shadow run --slot candidate"


def test_both_sides_of_a_number_are_said_once_the_worse_one() -> None:
    rise = a_finding(Criterion.MORE_BLOCKS, verdict=Verdict.FAIL, reason="Blocks 80 % more")
    fall = a_finding(Criterion.FEWER_BLOCKS, observed=-0.8, reason="Blocks 80 % more, limit on fewer")
    assert sentences.named([fall, rise]) == [rise]
    found = obstacles(a_judgement(fall, replace(rise, verdict=Verdict.INSUFFICIENT, days=3.0)))
    assert [one.reason for one in found] == ["Blocks 80 % more"], "what takes longer"


@given(st.permutations(list(Criterion)), st.sampled_from(Verdict), st.integers(0, 3))
def test_each_number_is_named_once_and_nothing_is_lost(order: list[Criterion], other: Verdict, n: int) -> None:
    findings = [a_finding(c, verdict=other if at % 4 == n else Verdict.INSUFFICIENT) for at, c in enumerate(order)]
    found = sentences.named(findings)
    assert len({NAMES[f.criterion] for f in found}) == len(found) == len(set(NAMES.values()))
    worst = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    for one in found:
        rivals = [f for f in findings if NAMES[f.criterion] == NAMES[one.criterion]]
        assert worst[one.verdict] == min(worst[f.verdict] for f in rivals)


def test_the_one_thing_is_what_a_person_must_mend_and_then_what_takes_longest() -> None:
    days = [a_finding(Criterion.MORE_BLOCKS, segment=f"country={n}", days=float(n)) for n in (2, 9, 5)]
    unknown = a_finding(Criterion.LOST_FRAUD, observed=None, reason="Nothing known")
    control = a_finding(Criterion.EXCESS_DISAGREEMENT, observed=None, reason=wording.NO_CONTROL)
    found = obstacles(a_judgement(*days, unknown, control))
    assert [one.help for one in found[:1]] == [Help.CONTROL]
    assert [one.days for one in found[1:]] == [9.0, 5.0, 2.0, None]


def test_where_live_has_blocked_nothing_another_control_does_not_help() -> None:
    empty = wording.unknown(Criterion.EXCESS_DISAGREEMENT)
    finding = a_finding(Criterion.EXCESS_DISAGREEMENT, observed=None, reason=f"{empty}; needs more", days=2.0)
    (found,) = obstacles(a_judgement(finding))
    assert found.help is Help.TIME


def test_a_share_of_a_few_blocks_is_too_few_and_no_percentage() -> None:
    thin = a_finding(
        bound=33.82,
        observed=-10.0,
        reason="Blocks 1,000.0 % fewer than live (upper bound so far 3,382.0 % more); limit 10.0 % more",
        more=1200,
        things="transactions",
        days=3.5,
    )
    told = reason_of(thin, 3)
    assert told.startswith("Too few to compare: live has blocked 3 transactions here")
    assert "1,200 more transactions" in told
    assert "382" not in told
    assert reason_of(thin, ENOUGH) == thin.reason
    assert reason_of(thin) == thin.reason
    failed = replace(thin, verdict=Verdict.FAIL)
    assert reason_of(failed, 3) == failed.reason, "evidence that was enough is told"


@pytest.mark.parametrize(
    ("findings", "reviews", "commands"),
    [
        ([a_finding(Criterion.EXCESS_DISAGREEMENT, observed=None)], 0, ["scorer deploy TWIN --slot control"]),
        ([a_finding(Criterion.LOST_FRAUD, days=3.0)], 12, ["shadow review next --slot candidate", None]),
        ([a_finding(reason="x; not decidable at this traffic")], 0, ["shadow plan"]),
        ([a_finding(days=2.0)], 0, [None]),
        ([a_finding()], 0, [None]),
    ],
)
def test_each_obstacle_has_the_step_that_helps(
    findings: list[Finding], reviews: int, commands: list[str | None]
) -> None:
    judgement = a_judgement(*findings)
    found = steps("candidate", judgement, obstacles(judgement), reviews, None, "")
    assert len(found) == len(commands)
    for step, command in zip(found, commands, strict=True):
        assert step.command is None if command is None else str(step.command).startswith(command)


def test_a_promotion_is_approved_or_refused_and_without_a_suggestion_it_says_why_there_is_none() -> None:
    ready = a_judgement(decision=Decision.PROMOTE)
    approve, reject = steps("b", ready, [], 0, "00000001-a", "")
    assert str(approve.command).startswith("shadow approve --slot b")
    assert str(reject.command).startswith("shadow reject --slot b")
    (only,) = steps("b", ready, [], 0, None, "slot b: ann rejected it")
    assert (only.text, only.command) == ("slot b: ann rejected it", None)


def test_money_has_a_currency_or_says_that_none_is_known_and_is_of_a_week_once_there_is_one() -> None:
    whole = replace(part(1_000, 50, 10, 20), minor=part(1_000, 50, 10, 20).counts * 1_000)
    assert sentences.change_in_money(whole, 336, 100, "EUR") == (
        "In a week the candidate blocks EUR 50 more than live: EUR 100 that live allows, less EUR 50 that only live "
        "blocks."
    )
    assert "In 30 hours" in sentences.change_in_money(whole, 30, 100, "EUR")
    assert "no currency known" in sentences.change_in_money(whole, 30, 100, "")
    rate, amount = sentences.sides(whole, 336, 100, "EUR")
    assert (rate.live, rate.candidate) == ("5.56 % (60)", "6.48 % (70)")
    assert rate.live_share == pytest.approx(60 / 70)
    assert (amount.live, amount.candidate) == ("EUR 300 a week", "EUR 350 a week")


@given(st.integers(0, 900), st.integers(1, 400), st.one_of(st.none(), st.integers(0, 500_000)))
def test_the_clean_period_is_told_in_days_and_never_more_than_it_needs(
    hours: int, needed: int, last: int | None
) -> None:
    clean = CleanPeriod(hours, needed, None, last)
    told = sentences.clean_days(clean)
    assert "done" in told
    assert ("earliest" in told) == bool(hours < needed and last is not None)
    assert sentences.clean_told(clean).startswith(f"clean period: {hours:,} clean event hours")


def test_noise_and_harm_are_told_for_what_is_known() -> None:
    judgement = judge(BAD, a_run(), RELEASE)
    assert sentences.noise(judgement).startswith("Yes. Disagrees with live more often")
    assert sentences.noise(judge(BAD, None, RELEASE)).startswith("Not known: No A/A control")
    equal = judge(a_run(), a_run(), RELEASE)
    assert sentences.noise(equal).startswith("No more than the limit allows.")
    known = a_judgement(a_finding(Criterion.LOST_FRAUD, reason="Blocks less fraud than live"))
    assert sentences.good_or_bad(known, 3) == ["Blocks less fraud than live."]
    assert sentences.good_or_bad(a_judgement(), 3) == ["Not known yet: 3 cases wait for a review."]


def test_a_headline_has_what_was_seen_and_the_limit_and_ends_before_what_would_allow_more() -> None:
    reason = (
        "Blocks 30.0 % more than live (upper bound so far 44.0 % more); limit 10.0 % more; needs about 9 more reviews "
        "(about 2 days); up to 50.0 % more where reviews show little fraud lost, and few customers insulted"
    )
    judgement = a_judgement(a_finding(reason=reason, days=2.0))
    (one,) = found = obstacles(judgement)
    assert verdict(judgement, found) == "On hold. All traffic: blocks 30.0 % more than live; limit 10.0 % more."
    assert one.told == f"All traffic: b{reason[1:]}"
