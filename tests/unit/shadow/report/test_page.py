"""The page tells what is known, rounded and escaped as it has to be."""

from __future__ import annotations

import re
from dataclasses import replace

from page.report import NASTY, RELEASE, a_part, a_report, a_run
from shadow.gate.drift import DriftLook
from shadow.gate.judge import judge
from shadow.report.markdown import markdown
from shadow.report.page import html


def test_the_page_and_the_summary_begin_with_the_verdict() -> None:
    """In a sentence, with the one reason, and without the names of criteria."""
    report = a_report()
    told = "Rejected. Country DE: blocks 195.5 % more than live; limit 25.0 % more."
    assert markdown(report).startswith(f"**{told} 7 more limits are exceeded.**")
    body = html(report).split("<body>")[1]
    assert body.lstrip().startswith(f'<h1 class="reject">{told}')
    for name in ("more_blocks", "fewer_blocks", "lost_fraud", "excess_disagreement"):
        assert name not in body
        assert name not in markdown(report)


def test_the_first_things_to_see_are_rates_money_with_its_currency_dates_and_thresholds() -> None:
    report = a_report()
    page = html(replace(report, totals=replace(report.totals, covered=tuple(range(490_896, 491_296)))))
    facts = page.split('class="facts"')[1].split("</div></div>")[0]
    for told in ("1.02 % (1,040)", "EUR 18,346 a week", "live 0.1, candidate 0.2", "2026-01-01 to 2026-01-17"):
        assert told in facts
    assert "L1-C1" not in facts
    assert "More than noise? Yes. " in page, "of all disagreements, not of one direction"
    assert "In a week the candidate blocks EUR 15,170 more than live" in page
    assert "EUR 37,800" in page, "the four outcomes"
    assert "EUR 12.34" in page, "a sample"
    assert "(no currency known)" in html(replace(report, currency=""))


def test_each_number_is_said_once_and_each_reason_can_be_read_without_selecting_anything() -> None:
    report = a_report()
    page = html(report)
    heat = page.split('class="heat"')[1].split("</table>")[0]
    heads = re.findall(r'class="n">([^<]+)<', heat)
    assert len(heads) == len(set(heads))
    assert heads.count("blocks") == 1
    fails = page.split('id="fails"')[1].split("<h2")[0]
    assert fails.count("Blocks 195.5 % more than live") == 7
    assert "title=" not in page.replace("<title>", "")
    shown = page.split("Every check with its reason")[1].split("</details>")[0]
    for cell in re.findall(r"popover>([^<]+)<", page):
        assert cell.partition(": ")[2] in shown


def test_three_blocks_are_too_few_and_no_percentage() -> None:
    report = a_report(40, 60)
    thin = a_part(0.001, 1, 20)
    segments = {**report.totals.segments, "country=DE": thin}
    totals = replace(report.totals, segments=segments)
    judgement = judge(totals, a_run(50, 50), RELEASE, matched=report.judgement.matched)
    page = html(replace(report, totals=totals, judgement=judgement))
    assert "Too few to compare: live has blocked 2 transactions here" in page
    floor = page.split('id="floor"')[1].split("<h2")[0]
    row = re.search(r"country DE</th>(.*?)</tr>", floor)
    assert row is not None
    assert "too few blocks" in row[1]
    assert "%" not in row[1]
    heat = page.split('class="heat"')[1].split("</table>")[0]
    mine = re.search(r"country DE<small.*?</tr>", heat, re.DOTALL)
    assert mine is not None
    assert "too few" in mine[0]
    assert not re.search(r"\d,\d{3}\.\d %", mine[0])


def test_evidence_is_drawn_as_a_share_of_what_settles_a_check() -> None:
    page = html(a_report())
    evidence = page.split('id="evidence"')[1].split("<h2")[0]
    assert "100 %" in evidence
    assert "the limit is kept" in evidence
    assert "the limit is exceeded" in evidence
    assert "10²" not in evidence
    assert "to one" not in evidence


def test_where_no_limit_of_drift_is_known_nothing_is_called_all_clear() -> None:
    report = a_report()
    look = report.judgement.drift
    assert look is not None
    rows = tuple(replace(row, limit=None) for row in look.rows)
    page = html(replace(report, judgement=replace(report.judgement, drift=replace(look, rows=rows))))
    drift = page.split('id="drift"')[1].split("<h2")[0]
    assert f"Of {len(rows)} no limit is known" in drift
    assert "exceed their limit" not in drift
    assert "within their limits" not in drift


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
