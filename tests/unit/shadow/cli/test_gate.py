"""What `shadow gate --brief` shows."""

from __future__ import annotations

from shadow.cli.gate import in_brief
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Finding, Verdict


def found(verdict: Verdict, excused: bool = False) -> Finding:
    return Finding(Criterion.COVERAGE, "all", 0.5, None, 0.99, verdict, "", excused=excused)


def test_failures_are_shown_and_nothing_else_beside_them() -> None:
    fails, thin, passes = (found(verdict) for verdict in (Verdict.FAIL, Verdict.INSUFFICIENT, Verdict.PASS))
    excused = found(Verdict.INSUFFICIENT, excused=True)
    assert in_brief([fails, thin, passes, excused, fails]) == [fails, fails]
    assert in_brief([thin, passes, excused]) == [thin]
    assert in_brief([passes, excused]) == []
