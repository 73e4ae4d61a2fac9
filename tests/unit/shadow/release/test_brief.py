"""What `shadow gate --brief` says: the one thing that holds a release, and the command that helps, on one screen."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import click
from hypothesis import given
from hypothesis import strategies as st

from scorer.cli import cli as scorer
from shadow.cli import cli as shadow
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Decision, Finding, Judgement, Verdict
from shadow.release.brief import LINES, brief, help_for
from shadow.release.sentences import obstacles


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
        st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=300),
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


@given(FINDINGS, st.lists(st.text("abc: ", max_size=200), max_size=3), st.none() | st.integers(60, 200))
def test_it_fits_on_a_screen_and_says_first_what_holds_the_release(
    findings: list[Finding], beside: list[str], width: int | None
) -> None:
    judgement = judged(findings)
    lines = brief(judgement, "candidate", beside, width)
    holding = obstacles(judgement)
    assert lines[0].startswith(judgement.decision.value)
    assert f"next: {help_for(judgement, holding, 'candidate')}" in lines, "a command is never cut"
    if width is not None:
        tall = sum(max(1, math.ceil(len(line) / width)) for line in lines)
        assert tall <= LINES
        assert all(len(line) <= width for line in lines if not line.startswith("next: "))
        return
    assert len(lines) <= LINES
    assert not holding or holding[0].told in lines[0]
    assert set(beside) <= set(lines)
    left = next((line for line in lines if line.startswith("and ")), None)
    told = sum(line.startswith(("  FAIL", "  thin")) for line in lines)
    assert max(0, len(holding) - 1) == told + (int(left.split()[1]) if left else 0), "none is left out unseen"


def helping(*findings: Finding) -> str:
    judgement = judged(list(findings))
    return help_for(judgement, obstacles(judgement), "candidate")


@given(FINDINGS)
def test_the_command_that_helps_is_one_of_ours(findings: list[Finding]) -> None:
    program, *words = shlex.split(helping(*findings))
    command: click.Command | None = {"shadow": shadow, "scorer": scorer}[program]
    while isinstance(command, click.Group) and words:
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_reviews_help_where_labels_are_missing_and_time_where_traffic_is() -> None:
    thin = Verdict.INSUFFICIENT
    assert "review next" in helping(replace(found(thin, criterion=Criterion.LOST_FRAUD), things="reviews"))
    assert helping(found(thin, criterion=Criterion.TRANSACTIONS)) == "shadow plan"
    assert "--segment all --drivers" in helping(found(Verdict.FAIL, criterion=Criterion.MORE_BLOCKS))
    assert "approve" in helping(found(Verdict.PASS))
    assert helping() == "shadow status"
