"""A report as Markdown, for a pull request."""

from __future__ import annotations

from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import ALL, SegmentTotals
from shadow.gate.findings import Verdict
from shadow.release import sentences
from shadow.report.document import Report


def markdown(report: Report) -> str:
    """A summary for a pull request."""
    judgement, totals = report.judgement, report.totals
    part = totals.segments.get(ALL, SegmentTotals())
    unit, currency = report.minor_per_unit, report.currency
    lines = [f"**{_plain(report.headline)}**", "", *([f"{report.note}.", ""] if report.note else [])]
    if part.compared:
        lines += ["| | live | candidate |", "|---|---:|---:|"]
        sides = sentences.sides(part, totals.hours, unit, currency)
        lines += [f"| {side.name} | {side.live} | {side.candidate} |" for side in sides]
        lines += ["", sentences.change_in_money(part, totals.hours, unit, currency), ""]
    place = "A backtest" if report.is_backtest else f"Slot `{report.slot}`"
    lines += [
        f"{place}, run `{judgement.run}`: candidate `{totals.candidate_digest[:12]}` against live "
        f"`{totals.live_digest[:12]}`, {totals.compared:,} transactions in {judgement.covered_hours:,} clean "
        f"event hours ({judgement.needed_hours:,} required), criteria `{report.criteria[:12]}`.",
        "",
        "| | candidate allows | candidate blocks |",
        "|---|---:|---:|",
        f"| live allows | {part.counts[Outcome.BOTH_ALLOW]:,} | {part.counts[Outcome.CANDIDATE_ONLY]:,} |",
        f"| live blocks | {part.counts[Outcome.LIVE_ONLY]:,} | {part.counts[Outcome.BOTH_BLOCK]:,} |",
        "",
    ]
    against = [f for f in sentences.named(judgement.findings) if f.verdict is not Verdict.PASS and not f.excused]
    if against:
        lines += ["| what | where | verdict | reason |", "|---|---|---|---|"]
        for f in against:
            reason = sentences.reason_of(f, totals.segments.get(f.segment, SegmentTotals()).live_blocks)
            where = _plain(sentences.place(f.segment))
            lines.append(f"| {sentences.NAMES[f.criterion]} | {where} | {f.verdict} | {_plain(reason)} |")
        lines.append("")
    lines.append(f"{judgement.passed} checks pass.")
    left = judgement.not_judged
    if left:
        lines.append(f"Not judged, as `release.yaml` allows: {', '.join(map(_plain, left))}.")
    lines += [f"{gap}." for gap in report.gaps]
    beside = [part.told for part in (judgement.group, judgement.matched, judgement.drift) if part is not None]
    if beside:
        lines += ["", *(f"* {_plain(line)}" for told in beside for line in told.splitlines())]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
