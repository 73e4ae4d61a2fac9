"""What the report tells beside the criteria: scores, the candidate at live's block rate, drift. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from shadow.comparison.bins import EDGES, Counts
from shadow.comparison.totals import ALL, SegmentTotals
from shadow.gate.drift import Drift
from shadow.gate.judge import ENOUGH
from shadow.gate.matched import Matched
from shadow.gate.shares import percent
from shadow.release.sentences import place
from shadow.report.charts import Axis, Chart, Line, Mark, Span
from shadow.report.document import Report

#: Stands where live blocked too little to tell a share of it.
TOO_FEW = "too few blocks"
_SHARES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
_LOG_ODDS = [(math.log(p / (1 - p)), f"{100 * p:g} %") for p in _SHARES]


def signed(share: float) -> str:
    """A change as a share, with its sign.

    >>> signed(0.031), signed(-0.5)
    ('+3.1 %', '-50.0 %')
    """
    return f"{'+' if share >= 0 else '-'}{percent(abs(share))}"


def scores(report: Report) -> Chart | None:
    """How both models' scores are distributed; None while nothing was compared."""
    part = report.totals.segments.get(ALL, SegmentTotals())
    live, candidate = _even(part.live_scores), _even(part.candidate_scores)
    if not candidate.sum():
        return None
    left = [-8.5 + 0.5 * at for at in range(len(live))]
    highest = math.log10(max(10, int(max(live.max(), candidate.max()))))
    ticks = [(float(n), f"{10**n:,}") for n in range(0, int(highest) + 1, 2)]
    marks = [
        Mark("mark", name, x=_odds(t))
        for t, name in zip(report.thresholds, ("live", "candidate"), strict=True)
        if t is not None and 0 < t < 1
    ]
    lines = [
        Line(left, np.log10(np.maximum(counts, 0.5)).tolist(), style, steps=True)
        for counts, style in ((live, "a"), (candidate, "b"))
    ]
    y = Axis(-0.3, highest + 0.2, ticks, "transactions")
    return Chart("distribution of scores", lines, Axis(left[0], 8.0, _LOG_ODDS, "score"), y, marks)


def _odds(probability: float) -> float:
    """Log-odds."""
    return math.log(probability / (1 - probability))


def _even(counts: Counts) -> Counts:
    """Score bins put together to even steps of 1/2 in log-odds, from -8 to 8 and what is beyond."""
    odds = np.log(EDGES / (1 - EDGES))
    starts = [0, *(int(np.searchsorted(odds, edge - 1e-9)) + 1 for edge in np.arange(-8, 8.5, 0.5))]
    return np.asarray(np.add.reduceat(counts, starts))


def at_live_rate(report: Report) -> dict[str, Any] | None:
    """The candidate at the threshold at which it blocks as much as live; None while that is not known."""
    found = report.judgement.matched
    if found is None:
        return None
    return {
        "days": len(found.days),
        "first": _day(found.days[0]),
        "last": _day(found.days[-1]),
        "live_blocks": f"{found.live_blocks:,}",
        "threshold": f"{found.threshold:.4g}",
        "below": f"{found.below:.4g}",
        "above": f"{found.above:.4g}",
        "off": f"{percent(abs(found.off))} {'more' if found.off >= 0 else 'less'}",
        "is_as_shipped": found.is_as_shipped,
        "shipped": "another one" if found.shipped is None else f"{found.shipped:.4g}",
        "charts": _curves(report, found),
        "rows": _matched_parts(found),
    }


def _curves(report: Report, found: Matched) -> list[tuple[str, Chart, str]]:
    """What other thresholds would do: blocks, and who is blocked by one of the two alone, by count and by money."""
    if len(found.curve) < 2:
        return []
    part, whole = report.totals.segments.get(ALL, SegmentTotals()), found.parts[0]
    blocks, money = max(1, whole.live_blocks), max(1, whole.live_minor)
    at = [_odds(point.threshold) for point in found.curve]
    low, high = min(at), max(at)
    x = Axis(low, high, _thresholds(low, high), "threshold of the candidate")
    marks = [Mark("mark", "matched", x=_odds(found.threshold))]
    if found.shipped is not None and 0 < found.shipped < 1 and low <= _odds(found.shipped) <= high:
        marks.append(Mark("mark", "as shipped", x=_odds(found.shipped)))

    def chart(title: str, lines: Sequence[Line], label: str, more: Sequence[Mark] = ()) -> Chart:
        most = min(4.0, max(1.2, *(max(line.y) for line in lines)))
        step = 0.5 if most <= 2 else 1.0
        ticks = [(step * n, percent(step * n, 0)) for n in range(int(most / step) + 1)]
        return Chart(title, lines, x, Axis(0, most, ticks, label), (*marks, *more))

    rate = percent(blocks / max(1, sum(whole.counts)), 3)
    total = Line(at, [point.blocks / blocks for point in found.curve], "b")
    by_count = [
        Line(at, [point.added / blocks for point in found.curve], "a"),
        Line(at, [point.lost / blocks for point in found.curve], "b"),
    ]
    as_live = Mark("bound", "as much as live", y=1.0)
    name = "Block rate"
    told = f"100 % is as much as live: {rate} of transactions"
    figures = [(name, chart(name, (total,), "blocks, of live's", (as_live,)), told)]
    name = "Trade-off by count"
    figures.append((name, chart(name, by_count, "of live's blocks"), ""))
    if part.minor.any():
        by_money = [
            Line(at, [point.added_minor / money for point in found.curve], "a"),
            Line(at, [point.lost_minor / money for point in found.curve], "b"),
        ]
        name = "Trade-off by money"
        figures.append((name, chart(name, by_money, "of the money live blocks"), ""))
    return figures


def _thresholds(low: float, high: float) -> list[tuple[float, str]]:
    """Four round ticks between two log-odds."""
    shown = []
    for n in range(4):
        odds = low + (high - low) * (0.08 + 0.28 * n)
        share = float(f"{1 / (1 + math.exp(-odds)):.2g}")
        if 0 < share < 1:
            shown.append((_odds(share), f"{share:g}"))
    return shown


def _matched_parts(found: Matched) -> list[tuple[str | Span, ...]]:
    known = [part for part in found.parts if part.shift is not None]
    if not known:
        return []
    told = [part for part in known if part.live_blocks >= ENOUGH]
    ends = [end for part in told if part.shift for end in (part.shift.low, part.shift.high)]
    axis = Axis(max(-2.0, min([-0.1, *ends])), min(2.0, max([0.1, *ends])), (), "")
    rows: list[tuple[str | Span, ...]] = []
    for part in known:
        if part.shift is None or part.disagreement is None:
            continue
        shift, over = part.shift, part.excess
        if part.live_blocks < ENOUGH:
            rows.append((place(part.segment), f"{part.live_blocks:,}", TOO_FEW, *("",) * 6))
            continue
        rows.append(
            (
                place(part.segment),
                f"{part.live_blocks:,}",
                signed(shift.estimate),
                f"{signed(shift.low)} to {signed(shift.high)}",
                Span(shift.low, shift.estimate, shift.high, None, axis, "fail" if part.differs else "thin"),
                percent(part.disagreement),
                "" if part.floor is None else percent(part.floor),
                "" if over is None else f"{signed(over.estimate)} ({signed(over.low)} to {signed(over.high)})",
                "one blocks more" if part.differs else "",
            )
        )
    return rows


def drift(report: Report) -> dict[str, Any] | None:
    """What has changed since the calibration window; None if nobody looked."""
    found = report.judgement.drift
    if found is None:
        return None
    if found.windows is None:
        return {"missing": found.missing}
    recent, reference = found.windows.recent, found.windows.reference
    by_ratio = sorted(found.rows, key=lambda row: -(row.psi / row.limit if row.limit else 0.0))
    drifted = [row for row in by_ratio if row.has_drifted]
    of_scores = [row for row in by_ratio if not row.has_drifted and row.what.startswith("score")]
    rest = [row for row in by_ratio if not row.has_drifted and row not in of_scores]
    return {
        "missing": "",
        "first": _day(recent[0]),
        "last": _day(recent[-1]),
        "reference": _day(reference[0]),
        "over": len(drifted),
        "n": sum(row.limit is not None for row in found.rows),
        "unknown": sum(row.limit is None for row in found.rows),
        "shown": [_drift_row(row) for row in (*drifted, *of_scores)],
        "within": [_drift_row(row) for row in rest if row.limit is not None],
        "open": [_drift_row(row) for row in rest if row.limit is None],
        "bands": [
            f"{row.what}: {percent(row.distance, 2)} ({percent(row.low, 2)} to {percent(row.high, 2)})"
            for row in found.rows
            if row.distance is not None and row.low is not None and row.high is not None
        ],
    }


def _drift_row(row: Drift) -> tuple[str | Span, ...]:
    ratio = None if row.limit is None else row.psi / row.limit
    kind = "thin" if ratio is None else "fail" if ratio > 1 else "pass"
    return (
        row.what,
        f"{row.psi:.2g}",
        "not known" if row.limit is None else f"{row.limit:.2g}",
        "" if ratio is None else Span(0, ratio, ratio, 1.0, Axis(0.0, 2.0, (), ""), kind),
        "" if row.p is None else f"{row.p:.1g}",
        "" if row.clustering is None else f"{row.clustering:.1f}",
        f"{row.reference:,} / {row.recent:,}",
    )


def _day(day: int) -> str:
    """An event day, as a date."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
