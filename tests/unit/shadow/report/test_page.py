"""What a report tells: chosen, rounded and escaped as it has to be."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from page.report import NASTY, a_report, a_sample
from shadow.charts import Axis, Line, Mark, chart, span
from shadow.drift import DriftLook
from shadow.report import TELLING, markdown, telling
from shadow.reportpage import html


def test_the_page_and_the_summary_begin_with_the_verdict() -> None:
    report = a_report()
    assert markdown(report).startswith(f"**{report.judgement.reason.replace('<', '&lt;')}**")
    body = html(report).split("<body>")[1]
    assert body.lstrip().startswith('<h1 class="reject">Reject: ')


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
    assert "No label is asked for" in page
    assert "nan" not in page
    assert markdown(empty)


def test_what_is_not_known_is_never_shown_as_a_number() -> None:
    page = html(a_report())
    assert "nan" not in page.lower().replace("alert", "")
    assert "inf%" not in page


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 12))
def test_the_most_telling_samples_are_the_widest_gaps_of_both_directions(gaps: list[int], n: int) -> None:
    samples = [{**a_sample(at), "gap": gap / 10 * (-1) ** at} for at, gap in enumerate(gaps)]
    told = telling(samples, n)
    assert len(told) == min(n, len(samples))
    sizes = [abs(s["gap"]) for s in told]
    assert sizes == sorted(sizes, reverse=True)
    for outcome in ("live_only", "candidate_only"):
        mine = sorted((abs(s["gap"]) for s in samples if s["outcome"] == outcome), reverse=True)
        chosen = [abs(s["gap"]) for s in told if s["outcome"] == outcome]
        assert chosen == mine[: len(chosen)]
        assert len(chosen) >= min(len(mine), n // 2)
    assert len(telling(samples)) <= TELLING


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
    assert "a new run" in page
    assert "feature: card_mean_3d" in page
    assert "1 of 14 exceed their limit" in page
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


def test_charts_are_well_formed_and_stay_within_their_frame() -> None:
    axis = Axis(0, 10, [(0, "0"), (5, "<5>")], "x & y")
    lines = (Line([0, 5, 99], [-5, 5, math.inf], "a"), Line([1, 2], [3, 4], "b", steps=True))
    root = ET.fromstring(chart("a < b", lines, axis, axis, (Mark("bound", "&", y=5), Mark("mark", "t", x=50))))
    texts = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert "<5>" in texts
    numbers = [float(n) for n in "".join(node.get("d", "") for node in root.iter()).replace("M", " ").replace("L", " ")
               .replace("H", " ").replace("V", " ").split()]  # fmt: skip
    assert max(numbers) <= 360
    assert min(numbers) >= 0
    assert "circle" in span(-1, 0, 1, 0.5, Axis(-0.5, 0.5, (), ""), "pass")
