"""The page tells what is known, rounded and escaped as it has to be."""

from __future__ import annotations

from dataclasses import replace

from page.report import NASTY, a_report
from shadow.gate.drift import DriftLook
from shadow.report.markdown import markdown
from shadow.report.page import html


def test_the_page_and_the_summary_begin_with_the_verdict() -> None:
    report = a_report()
    assert markdown(report).startswith(f"**{report.judgement.reason.replace('<', '&lt;')}**")
    body = html(report).split("<body>")[1]
    assert body.lstrip().startswith('<h1 class="reject">Reject: ')


def test_names_are_data_and_never_markup() -> None:
    page = html(a_report())
    assert NASTY not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in markdown(a_report())


def test_a_run_without_anything_still_makes_a_page() -> None:
    full = a_report(controlled=False)
    empty = replace(
        full, paths=[], samples=[], gaps=[], chargebacks={}, thresholds=(None, None),
        totals=replace(full.totals, segments={}), review={"waiting": 0, "cases": {}, "segments": []},
    )  # fmt: skip
    page = html(empty)
    assert "There is no A/A control" in page
    assert "No reviews needed" in page
    assert "nan" not in page
    assert markdown(empty)


def test_what_is_not_known_is_never_shown_as_a_number() -> None:
    page = html(a_report())
    assert "nan" not in page.lower().replace("alert", "")
    assert "inf %" not in page


def test_the_suggested_threshold_and_what_drifts_are_told_and_decide_nothing() -> None:
    report = a_report()
    judgement = report.judgement
    assert judgement.matched is not None
    assert judgement.drift is not None
    assert judgement.suggested_threshold == judgement.matched.threshold
    without = replace(judgement, matched=None, drift=None)
    assert (without.decision, without.findings, without.suggested_threshold) == (
        judgement.decision,
        judgement.findings,
        None,
    )
    page, summary = html(report), markdown(report)
    assert f"--threshold {judgement.matched.threshold:.4g}" in page
    assert "begins a new run" in page
    assert "feature: card_mean_3d" in page
    assert "1 of 13 exceed their limit" in page
    assert judgement.matched.told.splitlines()[0].replace("<", "&lt;") in summary
    assert "drift: feature: card_mean_3d" in summary
    told = judgement.to_json()
    assert told["suggested_threshold"] == judgement.matched.threshold
    assert told["drifted"] == ("feature: card_mean_3d",)
    assert len(told["matched"]["curve"]) > 10


def test_before_there_is_a_second_week_the_page_says_what_is_missing() -> None:
    report = a_report()
    nothing = replace(report.judgement, matched=None, drift=DriftLook(None, missing="needs <days>"))
    page = html(replace(report, judgement=nothing))
    assert "Not known yet: the threshold" in page
    assert "Not known yet: needs &lt;days&gt;." in page
    assert "nan" not in page.lower().replace("alert", "")
