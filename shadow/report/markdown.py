"""The release report: all that the gate saw of a run, what of it is worth telling, and a Markdown summary. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shadow.findings import Judgement, Verdict
from shadow.labelled import ChargebackBounds
from shadow.tally import ALL, OUTCOMES, RunTotals, SegmentTotals

#: Samples that are told.
TELLING = 10


@dataclass(frozen=True, slots=True)
class Path:
    """Evidence on a criterion over time: base-10 logs, one for each clean hour."""

    criterion: str
    segment: str
    within: Sequence[float]
    beyond: Sequence[float]


@dataclass(frozen=True)
class Report:
    """All that a report tells. bar: base-10 log of the evidence that settles a pass. minor_per_unit: of the reporting
    currency. thresholds: live's and the candidate's, None where they are not known."""

    slot: str
    at: str
    totals: RunTotals
    judgement: Judgement
    criteria: str
    segments: Sequence[str]
    thresholds: tuple[float | None, float | None]
    paths: Sequence[Path]
    bar: float
    samples: Sequence[dict[str, Any]]
    review: dict[str, Any]
    chargebacks: dict[str, ChargebackBounds]
    gaps: Sequence[str]
    minor_per_unit: float


def telling(samples: Iterable[dict[str, Any]], n: int = TELLING) -> list[dict[str, Any]]:
    """The disagreements with the widest gaps between the scores, half of each direction where there are enough."""
    by_gap = sorted(samples, key=lambda s: (-abs(s["gap"] or 0.0), s["transaction_id"]))
    sides = [[s for s in by_gap if s["outcome"] == outcome] for outcome in OUTCOMES[2:]]
    half = max(n // 2, n - len(sides[1])), max(n - n // 2, n - len(sides[0]))
    chosen = [s for side, most in zip(sides, half, strict=True) for s in side[:most]]
    return sorted(chosen, key=lambda s: -abs(s["gap"] or 0.0))[:n]


def markdown(report: Report) -> str:
    """A summary for a pull request."""
    judgement, totals = report.judgement, report.totals
    part = totals.segments.get(ALL, SegmentTotals())
    lines = [
        f"**{_plain(judgement.reason)}**",
        "",
        f"Slot `{report.slot}`, run `{judgement.run}`: candidate `{totals.candidate_digest[:12]}` against live "
        f"`{totals.live_digest[:12]}`, {totals.compared:,} transactions in {judgement.covered_hours} of "
        f"{judgement.needed_hours} clean event hours, criteria `{report.criteria[:12]}`.",
        "",
        "| | candidate allows | candidate blocks |",
        "|---|---:|---:|",
        f"| live allows | {part.counts[0]:,} | {part.counts[3]:,} |",
        f"| live blocks | {part.counts[2]:,} | {part.counts[1]:,} |",
        "",
    ]
    against = [f for f in judgement.findings if f.verdict is not Verdict.PASS and not f.excused]
    passed = sum(f.verdict is Verdict.PASS for f in judgement.findings)
    if against:
        lines += ["| criterion | segment | verdict | reason |", "|---|---|---|---|"]
        lines += [f"| {f.criterion} | {_plain(f.segment)} | {f.verdict} | {_plain(f.reason)} |" for f in against]
        lines.append("")
    lines.append(f"{passed} criteria pass.")
    left = judgement.not_judged
    if left:
        lines.append(f"Not judged, as `release.yaml` allows: {', '.join(map(_plain, left))}.")
    lines += [f"{gap}." for gap in report.gaps]
    beside = [part.told for part in (judgement.matched, judgement.drift) if part is not None]
    if beside:
        lines += ["", *(f"* {_plain(line)}" for told in beside for line in told.splitlines())]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
