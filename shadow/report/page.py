"""The release report as one HTML page that needs nothing outside of it: what the template is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import ALL, SegmentTotals
from shadow.gate import wording
from shadow.gate.criteria import Criterion, Kind, Unit
from shadow.gate.findings import EITHER, Decision, Finding, Verdict
from shadow.gate.harm import ChargebackBounds
from shadow.gate.shares import percent
from shadow.report.charts import Axis, Chart, Line, Mark, Span
from shadow.report.document import Report
from shadow.report.sections import at_live_rate, drift, scores, signed
from shadow.report.templates import ENVIRONMENT

_CLASS = {Verdict.PASS: "pass", Verdict.FAIL: "fail", Verdict.INSUFFICIENT: "thin"}
_SIGN = {Verdict.PASS: "\N{CHECK MARK}", Verdict.FAIL: "\N{BALLOT X}", Verdict.INSUFFICIENT: "?"}
#: Features that are told of a sample.
FEATURES = 3
#: Columns of the heat table: support, change, who is right, the last days.
_COLUMNS = (Kind.SUPPORT, Kind.CHANGE, Kind.FLOOR, Kind.HARM, Kind.RECENT)
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def html(report: Report) -> str:
    """The page."""
    return ENVIRONMENT.get_template("page.html.j2").render(
        report=report,
        head=_head(report),
        open=_open(report),
        heat=_heat(report),
        outcomes=_outcomes(report),
        floor=_floor(report),
        evidence=_evidence(report),
        scores=scores(report),
        matched=at_live_rate(report),
        drift=drift(report),
        labels=_labels(report),
        samples=_samples(report),
    )


def _head(report: Report) -> dict[str, Any]:
    judgement, totals = report.judgement, report.totals
    verdict, _, reason = report.headline.partition(": ")
    return {
        "kind": judgement.decision.value,
        "verdict": verdict.capitalize(),
        "reason": reason,
        "sentence": _sentence(report),
        "facts": [
            ("slot and run", f"{'none: a backtest' if report.note else report.slot}, {judgement.run}"),
            ("candidate", totals.candidate_digest[:12] or "unknown"),
            ("live", totals.live_digest[:12] or "unknown"),
            ("compared", f"{totals.compared:,}"),
            ("clean event hours", f"{judgement.covered_hours:,}, {judgement.needed_hours:,} required"),
            ("criteria", report.criteria[:12]),
            ("seen at", f"{report.at[:16].replace('T', ' ')} UTC"),
        ],
    }


def _sentence(report: Report) -> str:
    """What the verdict means, for somebody who does not know the words."""
    return f"{_meaning(report)} {report.note}." if report.note else _meaning(report)


def _meaning(report: Report) -> str:
    fails = [f for f in report.judgement.findings if f.verdict is Verdict.FAIL]
    if report.judgement.decision is Decision.REJECT:
        return "This candidate exceeds a limit. " + " ".join(f"{f.segment}: {f.reason}." for f in fails)
    if report.judgement.decision is Decision.HOLD:
        return "No check fails, but some required checks still lack evidence. They are listed below."
    passed = "Every required check has enough evidence and is within its limit."
    return passed if report.note else f"{passed} A person decides."


def _open(report: Report) -> dict[str, Any]:
    """What could not be judged."""
    found = [f for f in report.judgement.findings if f.verdict is Verdict.INSUFFICIENT]
    holding = [f for f in found if not f.excused]
    rows = [(f.segment, f.criterion.value, "holds the promotion", f.reason) for f in holding]
    for segment in report.judgement.not_judged:
        mine = [f for f in found if f.excused and f.segment == segment]
        rows.append((segment, f"{len(mine)} criteria", "excused", mine[0].reason))
    return {"rows": rows, "holding": len(holding), "excused": len(found) - len(holding)}


@dataclass(frozen=True, slots=True)
class Cell:
    """A finding in the heat table. id: of its explanation on the page."""

    id: str
    kind: str
    number: str
    sign: str
    why: str


def _heat(report: Report) -> dict[str, Any]:
    findings = report.judgement.findings
    of_run = [f for f in findings if f.criterion.kind is Kind.RUN]
    columns = sorted({f.criterion for f in findings if f.criterion.kind is not Kind.RUN}, key=_column)
    by_place = {(f.segment, f.criterion): f for f in findings}
    return {
        "run": [(_SIGN[f.verdict], f.reason) for f in of_run],
        "signs": {_CLASS[verdict]: sign for verdict, sign in _SIGN.items()},
        "head": [criterion.replace("_", " ") for criterion in columns],
        "rows": [
            (
                segment,
                [
                    _cell(by_place.get((segment, criterion)), f"why-{row}-{column}")
                    for column, criterion in enumerate(columns)
                ],
            )
            for row, segment in enumerate(report.segments)
        ],
    }


def _column(criterion: Criterion) -> tuple[int, int]:
    return _COLUMNS.index(criterion.kind), list(Criterion).index(criterion)


def _cell(finding: Finding | None, name: str) -> Cell | None:
    if finding is None:
        return None
    kind = _CLASS[finding.verdict] + (" excused" if finding.excused else "")
    return Cell(name, kind, _number(finding), _SIGN[finding.verdict], f"{finding.verdict}: {finding.reason}")


def _number(finding: Finding) -> str:
    value = finding.observed
    if value is None or not math.isfinite(value):
        return ""
    if finding.criterion.unit.is_count:
        return f"{value:,.0f}"
    if finding.criterion.unit is Unit.OF_DECISIONS:
        return percent(value, 2)
    return wording.directed(finding.criterion, value)


def _outcomes(report: Report) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    part = report.totals.segments.get(ALL, SegmentTotals())
    total = max(1, part.compared)

    def cell(outcome: Outcome) -> dict[str, str]:
        count, money = int(part.counts[outcome]), int(part.minor[outcome]) / report.minor_per_unit
        return {"count": f"{count:,}", "share": percent(count / total, 3), "money": f"{money:,.0f}"}

    sides = {
        "live allows": (Outcome.BOTH_ALLOW, Outcome.CANDIDATE_ONLY),
        "live blocks": (Outcome.LIVE_ONLY, Outcome.BOTH_BLOCK),
    }
    verdicts = ("candidate allows", "candidate blocks")
    return [(name, [(v, cell(o)) for v, o in zip(verdicts, row, strict=True)]) for name, row in sides.items()]


def _floor(report: Report) -> list[tuple[str | Span, ...]]:
    """Disagreements of each segment beside the control's."""
    rates = [rate for rate in report.judgement.rates if rate.outcome == EITHER]
    if not rates:
        return []
    limits = {f.segment: f for f in report.judgement.findings if f.criterion is Criterion.EXCESS_DISAGREEMENT}
    most = max(0.1, *(min(3.0, rate.high) for rate in rates))
    axis = Axis(min(-0.1, *(max(-3.0, rate.low) for rate in rates)), most, (), "")
    rows: list[tuple[str | Span, ...]] = []
    for rate in rates:
        finding = limits.get(rate.segment)
        kind = _CLASS[finding.verdict] if finding else "thin"
        rows.append(
            (
                rate.segment,
                percent(rate.observed),
                percent(rate.floor),
                signed(rate.excess),
                f"{signed(rate.low)} to {signed(rate.high)}",
                Span(rate.low, rate.excess, rate.high, finding.limit if finding else None, axis, kind),
            )
        )
    return rows


def _evidence(report: Report) -> list[tuple[str, Chart]]:
    figures = []
    for path in report.paths:
        days = list(range(1, len(path.within) + 1))
        evidence = [w if w >= b else -b for w, b in zip(path.within, path.beyond, strict=True)]
        top = max(report.bar * 1.6, min(8.0, max(evidence, default=0)))
        bottom = min(-report.bar * 1.6, max(-8.0, min(evidence, default=0)))
        ticks = [(float(n), _power(abs(n))) for n in range(-8, 9, 2) if bottom <= n <= top]
        last = max(2, len(days))
        marks = [(float(n), str(n)) for n in range(0, last + 1, max(1, last // 4))]
        title = f"{path.criterion} in {path.segment}"
        chart = Chart(
            f"evidence on {title} over time",
            (Line(days, evidence, "a"),),
            Axis(0, last, marks, "event days"),
            Axis(bottom, top, ticks, "evidence, to one"),
            (Mark("bound", "within the limit", y=report.bar), Mark("bound", "beyond it", y=-report.bar)),
        )
        figures.append((title, chart))
    return figures


def _power(n: int) -> str:
    """Ten to a power, short."""
    return f"{10**n}" if n < 3 else f"10{str(n).translate(_SUPERSCRIPT)}"


def _labels(report: Report) -> dict[str, Any]:
    review = report.review
    rows = [
        (
            part["segment"],
            str(part["reviewed"]),
            percent(part["settled"], 0),
            "cannot estimate yet" if part["more"] is None else f"about {part['more']:,}",
            *_charged(report.chargebacks.get(part["segment"])),
        )
        for part in review["segments"]
    ]
    states = ", ".join(f"{count:,} {state}" for state, count in review["cases"].items()) or "none"
    return {"rows": rows, "states": states, "waiting": f"{review['waiting']:,}"}


def _charged(bounds: ChargebackBounds | None) -> tuple[str, str]:
    if bounds is None:
        return "", ""
    differ = f"; {bounds.differ} contradict a review" if bounds.differ else ""
    return f"{signed(bounds.best)} to {signed(bounds.worst)}", f"{percent(bounds.confirmed)}{differ}"


def _samples(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for sample in report.samples:
        live = sample.live.score
        why = ", ".join(f"{part.feature} {part.difference:+.2f}" for part in (sample.why or ())[:FEATURES])
        rows.append(
            (
                sample.transaction_id,
                sample.occurred_at[:19].replace("T", " "),
                f"{sample.amount_minor / report.minor_per_unit:,.2f}",
                "live alone" if sample.outcome is Outcome.LIVE_ONLY else "candidate alone",
                f"{'' if live is None else f'{live:.3f}'} → {sample.candidate.score:.3f}",
                " ".join(segment for segment in sample.segments if segment != ALL),
                why or ("not explained yet" if sample.why is None else "a bundle is gone"),
            )
        )
    return rows
