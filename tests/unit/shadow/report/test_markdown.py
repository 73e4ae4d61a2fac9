"""The summary for a pull request says what stands against a promotion."""

from __future__ import annotations

import pytest

from page.report import a_report
from shadow.report.markdown import markdown


@pytest.mark.parametrize(("lost", "added", "kind"), [(40, 900, "reject"), (110, 110, "hold")])
def test_the_summary_lists_what_stands_against_a_promotion(lost: int, added: int, kind: str) -> None:
    report = a_report(lost, added)
    text = markdown(report)
    assert text.startswith(f"**{kind}: ")
    against = [f for f in report.judgement.findings if f.verdict != "pass" and not f.excused]
    assert against
    assert sum(line.startswith(f"| {against[0].criterion} ") for line in text.splitlines()) >= 1
    assert text.count("\n| ") >= len(against)
    assert report.gaps[0] in text
    assert all(name in text for name in report.judgement.not_judged)
