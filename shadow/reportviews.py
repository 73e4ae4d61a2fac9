"""What the report tells beside the criteria: scores, the candidate at live's block rate, drift. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from html import escape

import numpy as np

from shadow.bins import EDGES, Counts
from shadow.charts import Axis, Line, Mark, chart, span
from shadow.drift import Drift
from shadow.matched import Matched
from shadow.report import Report
from shadow.tables import table
from shadow.tally import ALL, SegmentTotals

_SHARES = ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"))
_LOG_ODDS = [(math.log(p / (1 - p)), text) for p, text in _SHARES]


def scores(report: Report) -> str:
    part = report.totals.segments.get(ALL, SegmentTotals())
    live, candidate = _even(part.live_scores), _even(part.candidate_scores)
    if not candidate.sum():
        return ""
    left = [-8.5 + 0.5 * at for at in range(len(live))]
    highest = math.log10(max(10, int(max(live.max(), candidate.max()))))
    ticks = [(float(n), f"{10**n:,}") for n in range(0, int(highest) + 1, 2)]
    x = Axis(left[0], 8.0, _LOG_ODDS, "score")
    marks = [
        Mark("mark", name, x=math.log(t / (1 - t)))
        for t, name in zip(report.thresholds, ("live", "candidate"), strict=True)
        if t is not None and 0 < t < 1
    ]
    lines = [
        Line(left, np.log10(np.maximum(counts, 0.5)).tolist(), style, steps=True)
        for counts, style in ((live, "a"), (candidate, "b"))
    ]
    picture = chart("distribution of scores", lines, x, Axis(-0.3, highest + 0.2, ticks, "transactions"), marks)
    return (
        '<h2 id="scores">Scores</h2><div class="charts">'
        f"<figure><h3>Scores</h3>{picture}<figcaption><span class='key'>live</span> "
        "<span class='key two'>candidate</span>; upright: thresholds as shipped</figcaption></figure></div>"
    )


def _even(counts: Counts) -> Counts:
    """Score bins put together to even steps of 1/2 in log-odds, from -8 to 8 and what is beyond."""
    odds = np.log(EDGES / (1 - EDGES))
    starts = [0, *(int(np.searchsorted(odds, edge - 1e-9)) + 1 for edge in np.arange(-8, 8.5, 0.5))]
    return np.asarray(np.add.reduceat(counts, starts))


def at_live_rate(report: Report) -> str:
    head = '<h2 id="matched">At live\'s block rate</h2>'
    found = report.judgement.matched
    if found is None:
        return (
            f"{head}<p>Not known yet: the threshold is taken from the first event days of a run, and judged on what "
            "follows them. Both have to be there, and live has to have blocked something.</p>"
        )
    told = (
        f"The candidate blocked as much as live at <b>{found.threshold:.4g}</b> in {len(found.days)} event days "
        f"({_day(found.days[0])} to {_day(found.days[-1])}; {found.live_blocks:,} blocks of live). Scores are known by "
        f"bins: the next thresholds are {found.below:.4g} and {found.above:.4g}, and at this one it blocked "
        f"{found.off:+.1%} of live's. Everything below is what followed these days, which had no part in the choice."
    )
    if found.is_as_shipped:
        advice = "That is the threshold it has, as far as the bins can tell."
    else:
        shipped = "another one" if found.shipped is None else f"{found.shipped:.4g}"
        advice = (
            f"It is shipped at {shipped}, and the verdict above is on that. This threshold is a suggestion: a bundle "
            "at another threshold is a new run, with a clean period of its own "
            f"(<code>scorer deploy BUNDLE --slot {escape(report.slot)} --threshold {found.threshold:.4g}</code>)."
        )
    return f"{head}<p>{told}</p><p>{advice}</p>{_curves(report, found)}{_matched_parts(found)}"


def _curves(report: Report, found: Matched) -> str:
    """What other thresholds would do: blocks, and who is blocked by one of the two alone, by count and by money."""
    if len(found.curve) < 2:
        return ""
    part, whole = report.totals.segments.get(ALL, SegmentTotals()), found.parts[0]
    blocks = max(1, whole.counts[1] + whole.counts[2])
    money = max(1, whole.minor[1] + whole.minor[2])
    at = [math.log(point.threshold / (1 - point.threshold)) for point in found.curve]
    low, high = min(at), max(at)
    ticks = _thresholds(low, high)
    x = Axis(low, high, ticks, "threshold of the candidate")
    marks = [Mark("mark", "matched", x=math.log(found.threshold / (1 - found.threshold)))]
    if found.shipped is not None and 0 < found.shipped < 1:
        odds = math.log(found.shipped / (1 - found.shipped))
        if low <= odds <= high:
            marks.append(Mark("mark", "as shipped", x=odds))
    rate = blocks / max(1, sum(whole.counts))

    def figure(title: str, lines: Sequence[Line], label: str, told: str, more: Sequence[Mark] = ()) -> str:
        most = min(4.0, max(1.2, *(max(line.y) for line in lines)))
        step = 0.5 if most <= 2 else 1.0
        y = Axis(0, most, [(step * n, f"{step * n:.0%}") for n in range(int(most / step) + 1)], label)
        drawn = chart(title, lines, x, y, (*marks, *more))
        return f"<figure><h3>{title}</h3>{drawn}<figcaption>{told}</figcaption></figure>"

    total = [point.blocks / blocks for point in found.curve]
    pairs = [
        ([point.added / blocks for point in found.curve], [point.lost / blocks for point in found.curve]),
        ([point.added_minor / money for point in found.curve], [point.lost_minor / money for point in found.curve]),
    ]
    keys = "<span class='key'>blocked in addition</span> <span class='key two'>no longer blocked</span>"
    figures = [
        figure(
            "Block rate",
            (Line(at, total, "b"),),
            "blocks, of live's",
            f"100 % is as much as live: {rate:.3%} of transactions",
            (Mark("bound", "as much as live", y=1.0),),
        ),
        figure("Trade-off by count", _two(at, pairs[0]), "of live's blocks", keys),
    ]
    if part.minor.any():
        figures.append(figure("Trade-off by money", _two(at, pairs[1]), "of the money live blocks", keys))
    return f'<div class="charts">{"".join(figures)}</div>'


def _two(at: Sequence[float], sides: tuple[Sequence[float], Sequence[float]]) -> tuple[Line, Line]:
    return Line(at, sides[0], "a"), Line(at, sides[1], "b")


def _thresholds(low: float, high: float) -> list[tuple[float, str]]:
    """Four round ticks between two log-odds."""
    shown = []
    for n in range(4):
        odds = low + (high - low) * (0.08 + 0.28 * n)
        share = float(f"{1 / (1 + math.exp(-odds)):.2g}")
        if 0 < share < 1:
            shown.append((math.log(share / (1 - share)), f"{share:g}"))
    return shown


def _matched_parts(found: Matched) -> str:
    known = [part for part in found.parts if part.shift is not None]
    if not known:
        return "<p>Live has blocked nothing since.</p>"
    ends = [end for part in known if part.shift for end in (part.shift.low, part.shift.high)]
    axis = Axis(min(-0.1, max(-2.0, min(ends))), max(0.1, min(2.0, max(ends))), (), "")
    rows = []
    for part in known:
        if part.shift is None or part.disagreement is None:
            continue
        s = part.shift
        apart = "one blocks more" if part.differs else ""
        kind = "fail" if part.differs else "thin"
        beside = "" if part.floor is None else f"{part.floor:.1%}"
        over = (
            ""
            if part.excess is None
            else f"{part.excess.estimate:+.1%} ({part.excess.low:+.1%} to {part.excess.high:+.1%})"
        )
        rows.append(
            (
                escape(part.segment).replace("=", "=<wbr>", 1),
                f"{part.counts[1] + part.counts[2]:,}",
                f"{s.estimate:+.1%}",
                f"{s.low:+.1%} to {s.high:+.1%}",
                span(s.low, s.estimate, s.high, None, axis, kind),
                f"{part.disagreement:.1%}",
                beside,
                over,
                apart,
            )
        )
    head = (
        "segment",
        "live blocks",
        "candidate blocks more",
        "at all times within",
        "blocks more; upright: none",
        "the two differ on",
        "control",
        "excess",
        "",
    )
    return (
        "<p>By segment, at that threshold, as shares of live's blocks. Where the two should block alike overall, a "
        "segment in which they do not is one that the candidate ranks otherwise. The control stands at its own matched "
        "threshold.</p>" + table(head, rows)
    )


def drift(report: Report) -> str:
    found = report.judgement.drift
    head = '<h2 id="drift">Drift</h2>'
    if found is None:
        return ""
    if found.windows is None:
        return f"{head}<p>Not known yet: {escape(found.missing)}.</p>"
    recent, reference = found.windows.recent, found.windows.reference
    told = (
        f"Event days {_day(recent[0])} to {_day(recent[-1])} against the same weekdays from {_day(reference[0])} on. "
        "The limit of each index follows from the counts and from how much cards and days differ anyhow; it is not a "
        "rule of thumb. Drift says that the traffic has changed, not that a model is worse: it decides nothing."
    )
    by_ratio = sorted(found.rows, key=lambda row: -(row.psi / row.limit if row.limit else 0.0))
    drifted = [row for row in by_ratio if row.has_drifted]
    scores = [row for row in by_ratio if not row.has_drifted and row.what.startswith("score")]
    rest = [row for row in by_ratio if not row.has_drifted and row not in scores]
    bands = [
        f"{escape(row.what)}: {row.distance:.2%} ({row.low:.2%} to {row.high:.2%})"
        for row in found.rows
        if row.distance is not None and row.low is not None and row.high is not None
    ]
    far = (
        "<p>Greatest distance between the distributions of scores since the calibration window and in it, within "
        f"bounds that hold at all times: {'; '.join(bands)}.</p>"
        if bands
        else ""
    )
    summary = f"<p><b>{len(drifted)} of {len(found.rows)} exceed their limit.</b></p>"
    shown = _drift_table([*drifted, *scores])
    folded = (
        f"<details><summary>{len(rest)} features within their limits</summary>{_drift_table(rest)}</details>"
        if rest
        else ""
    )
    return f"{head}<p>{told}</p>{summary}{shown}{far}{folded}"


def _drift_table(rows: Sequence[Drift]) -> str:
    axis = Axis(0.0, 2.0, (), "")
    cells = []
    for row in rows:
        ratio = None if row.limit is None else row.psi / row.limit
        kind = "thin" if ratio is None else "fail" if ratio > 1 else "pass"
        cells.append(
            (
                escape(row.what),
                f"{row.psi:.2g}",
                "not known" if row.limit is None else f"{row.limit:.2g}",
                "" if ratio is None else span(0, ratio, ratio, 1.0, axis, kind),
                "" if row.p is None else f"{row.p:.1g}",
                "" if row.clustering is None else f"{row.clustering:.1f}",
                f"{row.reference:,} / {row.recent:,}",
            )
        )
    head = (
        "what",
        "PSI",
        "limit",
        "index; the tick is the limit",
        "p of the test",
        "values worth one",
        "values, then / now",
    )
    return table(head, cells)


def _day(day: int) -> str:
    """An event day, as a date."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
