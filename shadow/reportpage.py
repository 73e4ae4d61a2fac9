"""The release report as one HTML page with nothing outside of it. Pure but for its style, a file of this package."""

from __future__ import annotations

import math
from html import escape
from importlib.resources import files

from shadow.charts import Axis, Line, Mark, chart, span
from shadow.findings import COUNTED, Decision, Finding, Verdict
from shadow.labelled import ChargebackBounds
from shadow.report import Report
from shadow.reportviews import at_live_rate, drift, scores
from shadow.tables import table
from shadow.tally import ALL, SegmentTotals

_CLASS = {Verdict.PASS: "pass", Verdict.FAIL: "fail", Verdict.INSUFFICIENT: "thin"}
_SIGN = {Verdict.PASS: "\N{CHECK MARK}", Verdict.FAIL: "\N{BALLOT X}", Verdict.INSUFFICIENT: "?"}
#: Features that are told of a sample.
FEATURES = 3


def html(report: Report) -> str:
    """The page, with nothing outside of it."""
    style = (files("shadow") / "page" / "report.css").read_text(encoding="utf-8")
    title = f"{report.slot}: {report.judgement.reason}"
    sections = (
        _head(report),
        _not_judged(report),
        _heat(report),
        _outcomes(report),
        _rates(report),
        _evidence(report),
        scores(report),
        at_live_rate(report),
        drift(report),
        _labels(report),
        _samples(report),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    judgement, totals = report.judgement, report.totals
    facts = {
        "slot and run": f"{report.slot}, {judgement.run}",
        "candidate": totals.candidate_digest[:12] or "unknown",
        "live": totals.live_digest[:12] or "unknown",
        "compared": f"{totals.compared:,}",
        "clean event hours": f"{judgement.covered_hours} of {judgement.needed_hours}",
        "criteria": report.criteria[:12],
        "seen at": f"{report.at[:16].replace('T', ' ')} UTC",
    }
    told = "".join(f"<div>{escape(name)}<b>{escape(value)}</b></div>" for name, value in facts.items())
    kind = judgement.decision.value
    first, _, rest = judgement.reason.partition(": ")
    return (
        f'<h1 class="{kind}">{escape(first.capitalize())}: {escape(rest)}</h1><div class="facts">{told}</div>'
        f"<p>{escape(_sentence(report))}</p>"
    )


def _sentence(report: Report) -> str:
    """What the verdict means, for somebody who does not know the words."""
    fails = [f for f in report.judgement.findings if f.verdict is Verdict.FAIL]
    if report.judgement.decision is Decision.REJECT:
        return "This candidate exceeds a limit: " + "; ".join(f"{f.segment}: {f.reason}" for f in fails) + "."
    if report.judgement.decision is Decision.HOLD:
        return "Nothing fails, and not everything that has to be known is known yet. Below is what is missing."
    return "Everything that was asked for is known and within its limit. A person decides."


def _not_judged(report: Report) -> str:
    rows, gaps = [f for f in report.judgement.findings if f.verdict is Verdict.INSUFFICIENT], list(report.gaps)
    if not rows and not gaps:
        return '<h2 id="open">What could not be judged</h2><p>Nothing: every criterion was judged in every segment.</p>'
    holding = [f for f in rows if not f.excused]
    cells = [(escape(f.segment), escape(f.criterion), "holds the promotion", escape(f.reason)) for f in holding]
    for segment in report.judgement.not_judged:
        mine = [f for f in rows if f.excused and f.segment == segment]
        cells.append((escape(segment), f"{len(mine)} criteria", "may stay so", escape(mine[0].reason)))
    told = f"{len(holding)} criteria hold the promotion, {len(rows) - len(holding)} may stay unknown by release.yaml."
    listing = table(("segment", "criterion", "", "why"), cells) if cells else ""
    listed = "".join(f"<li>{escape(gap)}</li>" for gap in gaps)
    more = f"<ul>{listed}</ul>" if gaps else ""
    is_open = " open" if len(cells) <= 8 else ""
    shown = f"<details{is_open}><summary>Which, and why</summary>{listing}</details>" if rows else ""
    return f'<h2 id="open">What could not be judged</h2><p>{told}</p>{more}{shown}'


def _heat(report: Report) -> str:
    findings = report.judgement.findings
    whole = [f for f in findings if f.criterion in _OF_RUN]
    criteria = list(dict.fromkeys(f.criterion for f in sorted(findings, key=_column) if f not in whole))
    by_place = {(f.segment, f.criterion): f for f in findings}
    head = "".join(f'<th scope="col" class="n">{escape(c.replace("_", " "))}</th>' for c in criteria)
    body = []
    for segment in report.segments:
        cells = "".join(_cell(by_place.get((segment, criterion))) for criterion in criteria)
        body.append(f'<tr><th scope="row">{escape(segment)}</th>{cells}</tr>')
    return (
        '<h2 id="criteria">Criteria by segment</h2>'
        f"<p>Of the whole run: {'; '.join(f'{_SIGN[f.verdict]} {escape(f.reason)}' for f in whole)}.</p>"
        f"<p>{_SIGN[Verdict.PASS]} passes, {_SIGN[Verdict.FAIL]} fails, {_SIGN[Verdict.INSUFFICIENT]} (hatched) is not "
        "known well enough; the number is what was observed, empty where it is not asked. Rest on a cell for the "
        "reason.</p>"
        f'<div class="scroll"><table class="heat"><thead><tr><th scope="col">segment</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


#: Criteria of the whole run; then the columns of the heat table: support, change, who is right.
_OF_RUN = ("covered_hours", "decision_conflicts")
_ORDER = ("transactions", "coverage", "candidate_error_rate")


def _column(finding: Finding) -> tuple[int, str]:
    if finding.criterion in _ORDER:
        return _ORDER.index(finding.criterion), ""
    is_label = finding.criterion.startswith(("lost_fraud", "insults"))
    return len(_ORDER) + is_label, finding.criterion


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "<td></td>"
    kind = _CLASS[finding.verdict] + (" excused" if finding.excused else "")
    told = f"{finding.verdict}: {finding.reason}"
    return f'<td class="{kind}" title="{escape(told)}">{_number(finding)} {_SIGN[finding.verdict]}</td>'


def _number(finding: Finding) -> str:
    value = finding.observed
    if value is None or not math.isfinite(value):
        return ""
    if finding.criterion in COUNTED:
        return f"{value:,.0f}"
    if finding.criterion in _ORDER:
        return f"{value:.2%}"
    return f"{value:+.1%}"


def _outcomes(report: Report) -> str:
    part = report.totals.segments.get(ALL, SegmentTotals())
    total = max(1, part.compared)

    def cell(at: int) -> str:
        count, money = int(part.counts[at]), int(part.minor[at]) / report.minor_per_unit
        return f"<b>{count:,}</b> <small>{count / total:.3%}<br>{money:,.0f} in money</small>"

    rows = [("live allows", cell(0), cell(3)), ("live blocks", cell(2), cell(1))]
    return '<h2 id="outcomes">The four outcomes</h2><p>Live and candidate on the very same transactions.</p>' + table(
        ("", "candidate allows", "candidate blocks"), rows
    )


def _rates(report: Report) -> str:
    rates = [rate for rate in report.judgement.rates if rate.outcome == "either"]
    if not rates:
        return (
            '<h2 id="floor">Beside the A/A floor</h2>'
            "<p>There is no A/A control, so what two equal models would differ by is not known.</p>"
        )
    limits = {f.segment: f for f in report.judgement.findings if f.criterion == "excess_disagreement"}
    most = max(0.1, *(min(3.0, rate.high) for rate in rates))
    axis = Axis(min(-0.1, *(max(-3.0, rate.low) for rate in rates)), most, (), "")
    rows = []
    for rate in rates:
        finding = limits.get(rate.segment)
        kind = _CLASS[finding.verdict] if finding else "thin"
        shown = span(rate.low, rate.excess, rate.high, finding.limit if finding else None, axis, kind)
        rows.append(
            (
                escape(rate.segment).replace("=", "=<wbr>", 1),
                f"{rate.observed:.1%}",
                f"{rate.floor:.1%}",
                f"{rate.excess:+.1%}",
                f"{rate.low:+.1%} to {rate.high:+.1%}",
                shown,
            )
        )
    head = ("segment", "candidate", "control", "excess", "at all times within", "excess; the tick is the limit")
    return (
        '<h2 id="floor">Beside the A/A floor</h2><p>Disagreements with live as a share of live\'s blocks. The control '
        "is a twin of live from another seed: what it differs by is no news.</p>" + table(head, rows, "floors")
    )


def _evidence(report: Report) -> str:
    if not report.paths:
        return ""
    figures = []
    for path in report.paths:
        hours = list(range(1, len(path.within) + 1))
        signed = [w if w >= b else -b for w, b in zip(path.within, path.beyond, strict=True)]
        top = max(report.bar * 1.6, min(8.0, max(signed, default=0)))
        bottom = min(-report.bar * 1.6, max(-8.0, min(signed, default=0)))
        ticks = [(float(n), _power(abs(n))) for n in range(-8, 9, 2) if bottom <= n <= top]
        last = max(2, len(hours))
        days = [(24.0 * n, str(n)) for n in range(0, last // 24 + 1, max(1, last // 24 // 4))]
        title = f"{path.criterion} in {path.segment}"
        marks = (Mark("bound", "within the limit", y=report.bar), Mark("bound", "beyond it", y=-report.bar))
        picture = chart(
            f"evidence on {title} over time",
            (Line(hours, signed, "a"),),
            Axis(0, last, days, "clean days"),
            Axis(bottom, top, ticks, "evidence, to one"),
            marks,
        )
        figures.append(f"<figure><h3>{escape(title)}</h3>{picture}</figure>")
    return (
        '<h2 id="evidence">Evidence over time</h2><p>Upwards: that the limit is kept; downwards: that it is exceeded. '
        "Across the dotted line the question is settled, however often somebody looked. (A failure also has to "
        f'survive the comparison with all other criteria.)</p><div class="charts">{"".join(figures)}</div>'
    )


def _power(n: int) -> str:
    """Ten to a power, short."""
    return f"{10**n}" if n < 3 else f"10{str(n).translate(_SUPERSCRIPT)}"


_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _labels(report: Report) -> str:
    review = report.review
    rows = [
        (
            escape(part["segment"]),
            str(part["reviewed"]),
            f"{part['settled']:.0%}",
            "not in sight" if part["more"] is None else f"{part['more']:,}",
            *_charged(report.chargebacks.get(part["segment"])),
        )
        for part in review["segments"]
    ]
    head = '<h2 id="labels">Who is right where they differ</h2>'
    if not rows:
        return f"{head}<p>No label is asked for: nothing differs from live by more than the A/A floor.</p>"
    states = ", ".join(f"{count:,} {state}" for state, count in review["cases"].items()) or "none"
    names = (
        "segment",
        "reviews that count",
        "settled",
        "about so many more",
        "fraud lost, by chargebacks alone",
        "candidate's blocks charged back",
    )
    return (
        f"{head}<p>Labels are asked for in {len(rows)} segments. Reviews of the cases kept for it: {escape(states)}; "
        f"{review['waiting']:,} wait in the queue. Chargebacks never speak of what live blocks, so they leave a range."
        f"</p>{table(names, rows)}"
    )


def _charged(bounds: ChargebackBounds | None) -> tuple[str, str]:
    if bounds is None:
        return "", ""
    differ = f"; {bounds.differ} contradict a review" if bounds.differ else ""
    return f"{bounds.best:+.1%} to {bounds.worst:+.1%}", f"{bounds.confirmed:.1%}{differ}"


def _samples(report: Report) -> str:
    if not report.samples:
        return '<h2 id="samples">The most telling disagreements</h2><p>There are none.</p>'
    rows = []
    for sample in report.samples:
        live = sample["live"]["score"]
        why = ", ".join(
            f"{escape(part['feature'])} {part['difference']:+.2f}" for part in (sample["why"] or [])[:FEATURES]
        )
        rows.append(
            (
                escape(sample["transaction_id"]),
                escape(sample["occurred_at"][:19].replace("T", " ")),
                f"{sample['amount_minor'] / report.minor_per_unit:,.2f}",
                sample["outcome"].replace("_", " "),
                f"{'' if live is None else f'{live:.3f}'} → {sample['candidate']['score']:.3f}",
                escape(" ".join(s for s in sample["segments"] if s != ALL)),
                why or "a bundle is gone",
            )
        )
    head = (
        "transaction",
        "occurred at",
        "amount",
        "who blocks",
        "score, live → candidate",
        "segments",
        "why, log-odds",
    )
    return (
        '<h2 id="samples">The most telling disagreements</h2><p>Those with the widest gap between the scores.</p>'
        + table(head, rows)
    )
