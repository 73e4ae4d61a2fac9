"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps, on one screen."""

from __future__ import annotations

import math
import shlex

import click
from hypothesis import given
from hypothesis import strategies as st

from shadow.cli import cli
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Decision, Finding, Judgement, Verdict
from shadow.release.brief import LINES, against, brief, help_for, holding


def found(
    verdict: Verdict, excused: bool = False, criterion: Criterion = Criterion.COVERAGE, days: float | None = None
) -> Finding:
    return Finding(criterion, "all", 0.5, None, 0.99, verdict, "a reason", excused=excused, days=days)


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(list(Criterion)),
        st.sampled_from(["all", "country=FR", "amount=>=500", "x" * 200]),
        st.none(),
        st.none(),
        st.just(0.1),
        st.sampled_from(list(Verdict)),
        st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300),
        st.booleans(),
        days=st.none() | st.floats(0, 1000),
    ),
    max_size=40,
)


def judged(findings: list[Finding]) -> Judgement:
    verdicts = {one.verdict for one in findings if not (one.excused and one.verdict is Verdict.INSUFFICIENT)}
    decision = Decision.PROMOTE
    if not findings or Verdict.INSUFFICIENT in verdicts:
        decision = Decision.HOLD
    if Verdict.FAIL in verdicts:
        decision = Decision.REJECT
    return Judgement(decision, tuple(findings), 10, 336, "L1-C1")


def test_failures_are_shown_and_nothing_else_beside_them() -> None:
    fails, thin, passes = (found(verdict) for verdict in (Verdict.FAIL, Verdict.INSUFFICIENT, Verdict.PASS))
    excused = found(Verdict.INSUFFICIENT, excused=True)
    assert against([fails, thin, passes, excused, fails]) == [fails, fails]
    assert against([thin, passes, excused]) == [thin]
    assert against([passes, excused]) == []


def test_what_takes_longest_holds_a_release_and_most_of_all_what_has_no_end_in_sight() -> None:
    soon, late, never = (found(Verdict.INSUFFICIENT, days=days) for days in (1.0, 9.0, None))
    assert holding([soon, late]) is late
    assert holding([soon, never, late]) is never
    assert holding([found(Verdict.INSUFFICIENT, excused=True, days=99.0)]) is None


@given(FINDINGS, st.lists(st.text("abc: ", max_size=200), max_size=3), st.none() | st.integers(60, 200))
def test_it_fits_on_a_screen_and_says_first_what_holds_the_release(
    findings: list[Finding], beside: list[str], width: int | None
) -> None:
    judgement = judged(findings)
    lines = brief(judgement, "candidate", beside, width)
    one = holding(findings)
    assert lines[0].startswith(judgement.decision.value)
    assert f"next: {help_for(judgement, 'candidate')}" in lines, "a command is never cut"
    if width is not None:
        tall = sum(max(1, math.ceil(len(line) / width)) for line in lines)
        assert tall <= LINES
        assert all(len(line) <= width for line in lines if not line.startswith("next: "))
        return
    assert len(lines) <= LINES
    assert one is None or one.reason in lines[0]
    assert set(beside) <= set(lines)
    left = next((line for line in lines if line.startswith("and ")), None)
    told = sum(line.startswith(("  FAIL", "  thin")) for line in lines)
    others = len(against(findings)) - (one is not None)
    assert others == told + (int(left.split()[1]) if left else 0), "none is left out unseen"


@given(FINDINGS)
def test_the_command_that_helps_is_one_of_ours(findings: list[Finding]) -> None:
    program, *words = shlex.split(help_for(judged(findings), "candidate"))
    assert program == "shadow"
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_reviews_help_where_labels_are_missing_and_time_where_traffic_is() -> None:
    thin = Verdict.INSUFFICIENT
    assert "review next" in help_for(judged([found(thin, criterion=Criterion.LOST_FRAUD)]), "candidate")
    assert help_for(judged([found(thin, criterion=Criterion.TRANSACTIONS)]), "candidate") == "shadow plan"
    assert "--drivers" in help_for(judged([found(Verdict.FAIL, criterion=Criterion.MORE_BLOCKS)]), "candidate")
    assert "approve" in help_for(judged([found(Verdict.PASS)]), "candidate")
