"""The summary for a pull request says what stands against a promotion."""

from __future__ import annotations

import re

import pytest

from page.report import a_report
from shadow.release.sentences import NAMES, place
from shadow.report.markdown import markdown


@pytest.mark.parametrize(("lost", "added", "kind"), [(40, 900, "Rejected"), (110, 110, "On hold")])
def test_the_summary_lists_what_stands_against_a_promotion(lost: int, added: int, kind: str) -> None:
    report = a_report(lost, added)
    text = markdown(report)
    assert text.startswith(f"**{kind}. ")
    against = [f for f in report.judgement.findings if f.verdict != "pass" and not f.excused]
    assert against
    told = {(NAMES[f.criterion], place(f.segment).replace("<", "&lt;")) for f in against}
    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| [a-z]", line)]
    listed = [(row[0].removeprefix("| "), row[1]) for row in rows]
    assert [listed.count(one) for one in told] == [1] * len(told), "each number once"
    assert "EUR" in text
    assert report.gaps[0] in text
    assert all(name in text for name in report.judgement.not_judged)
