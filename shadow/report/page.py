"""The release report as one HTML page that needs nothing outside of it: what the template is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import ALL, SegmentTotals
from shadow.exploration.words import name_in_words, value_in_words
from shadow.gate import wording
from shadow.gate.criteria import Criterion, Kind, Unit
from shadow.gate.findings import EITHER, Decision, Finding, Verdict
from shadow.gate.harm import ChargebackBounds
from shadow.gate.judge import ENOUGH
from shadow.gate.shares import percent
from shadow.release import sentences
from shadow.report.charts import Axis, Chart, Line, Mark, Span
from shadow.report.document import Report
from shadow.report.sections import TOO_FEW, at_live_rate, drift, scores, signed
from shadow.report.templates import ENVIRONMENT

_CLASS = {Verdict.PASS: "pass", Verdict.FAIL: "fail", Verdict.INSUFFICIENT: "thin"}
_SIGN = {Verdict.PASS: "\N{CHECK MARK}", Verdict.FAIL: "\N{BALLOT X}", Verdict.INSUFFICIENT: "?"}
#: Features that are told of a sample.
FEATURES = 3
#: Columns of the heat table: support, change, who is right, the last days.
_COLUMNS = (Kind.SUPPORT, Kind.CHANGE, Kind.FLOOR, Kind.HARM, Kind.RECENT)
_WORD = {Verdict.PASS: "passes", Verdict.FAIL: "fails", Verdict.INSUFFICIENT: "lacks evidence"}
#: How far evidence is drawn, as a share of what settles a check.
_FARTHEST = 1.6


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
    judgement, totals, unit, currency = report.judgement, report.totals, report.minor_per_unit, report.currency
    whole = totals.segments.get(ALL, SegmentTotals())
    found = sentences.obstacles(judgement, totals)
    sides = sentences.sides(whole, totals.hours, unit, currency)
    facts = [(f"{name}: {side.name.lower()}", value) for side in sides
             for name, value in (("live", side.live), ("candidate", side.candidate))]  # fmt: skip
    covered = (
        f", {sentences.hour(min(totals.covered))[:10]} to {sentences.hour(max(totals.covered))[:10]}"
        if totals.covered
        else ""
    )
    clean = judgement.clean
    return {
        "kind": judgement.decision.value,
        "verdict": report.headline,
        "sentence": " ".join([_meaning(report), *([f"{report.note}."] if report.note else [])]),
        "money": sentences.change_in_money(whole, totals.hours, unit, currency) if whole.compared else "",
        "differ": sentences.differ(whole),
        "noise": sentences.noise(judgement),
        "facts": [
            *(facts if whole.compared else ()),
            (
                "thresholds",
                ", ".join(
                    f"{name} {'not known' if value is None else f'{value:.4g}'}"
                    for name, value in zip(("live", "candidate"), report.thresholds, strict=True)
                ),
            ),
            ("compared", f"{totals.compared:,} transactions{covered}"),
            (
                "clean period",
                f"{judgement.covered_hours:,} of {judgement.needed_hours:,} event hours"
                if clean is None
                else sentences.clean_days(clean),
            ),
        ],
        "marks": f"{'A backtest' if report.is_backtest else f'Slot {report.slot}'}, run {judgement.run}; "
        f"candidate {totals.candidate_digest[:12] or 'unknown'} "
        f"against live {totals.live_digest[:12] or 'unknown'}; criteria {report.criteria[:12]}; seen at "
        f"{report.at[:16].replace('T', ' ')} UTC.",
        "fails": [(sentences.place(one.segment), one.name, one.reason) for one in found if one.is_failure],
    }


#: What a verdict means, for somebody who does not know the words.
_MEANING = {
    Decision.REJECT: "This candidate exceeds a limit. Live goes on as it is.",
    Decision.HOLD: "No check fails, but some required checks still lack evidence. They are listed below.",
    Decision.PROMOTE: "Every required check has enough evidence and is within its limit.",
}


def _meaning(report: Report) -> str:
    told = _MEANING[report.judgement.decision]
    decides = report.judgement.decision is Decision.PROMOTE and not report.is_backtest
    return f"{told} A person decides." if decides else told


def _reason(report: Report, finding: Finding) -> str:
    part = report.totals.segments.get(finding.segment, SegmentTotals())
    return sentences.reason_of(finding, part.live_blocks)


def _few(report: Report, segment: str) -> bool:
    """Whether live has blocked too little in a segment to tell a share of it."""
    return report.totals.segments.get(segment, SegmentTotals()).live_blocks < ENOUGH


def _open(report: Report) -> dict[str, Any]:
    """What could not be judged."""
    found = [f for f in sentences.named(report.judgement.findings) if f.verdict is Verdict.INSUFFICIENT]
    holding = [f for f in found if not f.excused]
    rows = [
        (sentences.place(f.segment), sentences.NAMES[f.criterion], "holds the promotion", _reason(report, f))
        for f in holding
    ]
    for segment in report.judgement.not_judged:
        mine = [f for f in found if f.excused and f.segment == segment]
        if mine:
            many = "1 check" if len(mine) == 1 else f"{len(mine)} checks"
            rows.append((sentences.place(segment), many, "excused", _reason(report, mine[0])))
    return {"rows": rows, "holding": len(holding), "excused": len(found) - len(holding)}


@dataclass(frozen=True, slots=True)
class Cell:
    """A finding in the heat table. id: of its explanation on the page. name: of its column."""

    id: str
    kind: str
    number: str
    sign: str
    why: str
    name: str


def _heat(report: Report) -> dict[str, Any]:
    findings = sentences.named(report.judgement.findings)
    of_run = [f for f in findings if f.criterion.kind is Kind.RUN]
    rest = [f for f in findings if f.criterion.kind is not Kind.RUN]
    # of a pair either side may be the one that is told, so columns go by name
    first = {sentences.NAMES[c]: _column(c) for c in sorted(Criterion, key=list(Criterion).index, reverse=True)
             if c.kind is not Kind.RUN}  # fmt: skip
    columns = sorted({sentences.NAMES[f.criterion] for f in rest}, key=lambda name: first[name])
    by_place = {(f.segment, sentences.NAMES[f.criterion]): f for f in rest}
    rows = []
    for row, segment in enumerate(report.segments):
        cells = [
            _cell(report, by_place.get((segment, name)), f"why-{row}-{at}", name) for at, name in enumerate(columns)
        ]
        passes = sum(cell is not None and cell.kind == "pass" for cell in cells)
        rows.append((sentences.place(segment), cells, f"{passes} {'check passes' if passes == 1 else 'checks pass'}"))
    order = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
    return {
        "run": [(_SIGN[f.verdict], f.reason) for f in of_run],
        "signs": {_CLASS[verdict]: sign for verdict, sign in _SIGN.items()},
        "head": columns,
        "rows": rows,
        "all": [
            (
                sentences.place(f.segment),
                sentences.NAMES[f.criterion],
                f"{_SIGN[f.verdict]} {_WORD[f.verdict]}",
                _reason(report, f),
            )
            for f in sorted(findings, key=lambda f: order[f.verdict])
        ],
    }


def _column(criterion: Criterion) -> tuple[int, int]:
    return _COLUMNS.index(criterion.kind), list(Criterion).index(criterion)


def _cell(report: Report, finding: Finding | None, id_: str, name: str) -> Cell | None:
    if finding is None:
        return None
    kind = _CLASS[finding.verdict] + (" excused" if finding.excused else "")
    reason = _reason(report, finding)
    number = _number(finding) if reason == finding.reason else "too few"
    return Cell(id_, kind, number, _SIGN[finding.verdict], f"{_WORD[finding.verdict]}: {reason}", name)


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
        count = int(part.counts[outcome])
        money = sentences.money(int(part.minor[outcome]), report.minor_per_unit, report.currency)
        return {"count": f"{count:,}", "share": percent(count / total, 3), "money": money}

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
    told = [rate for rate in rates if not _few(report, rate.segment)]
    most = max([0.1, *(min(3.0, rate.high) for rate in told)])
    axis = Axis(min([-0.1, *(max(-3.0, rate.low) for rate in told)]), most, (), "")
    rows: list[tuple[str | Span, ...]] = []
    for rate in rates:
        if _few(report, rate.segment):
            rows.append((sentences.place(rate.segment), TOO_FEW, "", "", "", ""))
            continue
        finding = limits.get(rate.segment)
        kind = _CLASS[finding.verdict] if finding else "thin"
        rows.append(
            (
                sentences.place(rate.segment),
                percent(rate.observed),
                percent(rate.floor),
                signed(rate.excess),
                f"{signed(rate.low)} to {signed(rate.high)}",
                Span(rate.low, rate.excess, rate.high, finding.limit if finding else None, axis, kind),
            )
        )
    return rows


def _evidence(report: Report) -> list[tuple[str, Chart]]:
    """How the evidence grew, as a share of what settles a check: above zero that the limit is kept, below that it is
    exceeded."""
    figures = []
    for path in report.paths:
        days = list(range(1, len(path.within) + 1))
        evidence = [
            max(-_FARTHEST, min(_FARTHEST, (w if w >= b else -b) / report.bar))
            for w, b in zip(path.within, path.beyond, strict=True)
        ]
        ticks = [(1.0, "100 %"), (0.5, "50 %"), (0.0, "0"), (-0.5, "50 %"), (-1.0, "100 %")]
        last = max(2, len(days))
        marks = [(float(n), str(n)) for n in range(0, last + 1, max(1, last // 4))]
        title = f"{sentences.NAMES[path.criterion]}, {sentences.place(path.segment)}"
        chart = Chart(
            f"evidence on {title} over time",
            (Line(days, evidence, "a"),),
            Axis(0, last, marks, "event days"),
            Axis(-_FARTHEST, _FARTHEST, ticks, "evidence, of what settles it"),
            (Mark("bound", "the limit is kept", y=1.0), Mark("bound", "the limit is exceeded", y=-1.0)),
        )
        figures.append((f"{title[0].upper()}{title[1:]}", chart))
    return figures


def _labels(report: Report) -> dict[str, Any]:
    review = report.review
    rows = [
        (
            sentences.place(part["segment"]),
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
        why = "; ".join(
            f"{name_in_words(part.feature)} {value_in_words(part.value, sample.transaction.get(part.feature))} "
            f"{'raises' if part.difference > 0 else 'lowers'} it ({part.difference:+.2f})"
            for part in (sample.why or ())[:FEATURES]
        )
        rows.append(
            (
                sample.transaction_id,
                sample.occurred_at[:19].replace("T", " "),
                f"{report.currency} {sample.amount_minor / report.minor_per_unit:,.2f}".strip(),
                "live alone" if sample.outcome is Outcome.LIVE_ONLY else "candidate alone",
                f"{'' if live is None else f'{live:.3f}'} → {sample.candidate.score:.3f}",
                ", ".join(sentences.place(segment) for segment in sample.segments if segment != ALL),
                why or ("not explained yet" if sample.why is None else "a bundle is gone"),
            )
        )
    return rows
