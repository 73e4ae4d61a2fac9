"""How the evidence of a run has grown: blocks of the candidate beside live's, day by day and in all so far. SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shadow.gate.shares import percent

#: The frame of the chart in units of its picture.
LEFT, RIGHT, TOP, BOTTOM = 48.0, 356.0, 14.0, 130.0
#: Event days that are drawn, the last ones.
DAYS = 90


def over_days(days: Sequence[dict[str, Any]], more: float, fewer: float) -> dict[str, Any] | None:
    """The chart; None if live blocked nothing yet. days: exact counts by event day. more, fewer: the limits."""
    points: list[tuple[str, float | None, float | None, tuple[int, int]]] = []
    live, candidate = 0, 0
    for day in days:
        mine: tuple[int, int] = day["both_block"] + day["live_only"], day["both_block"] + day["candidate_only"]
        live, candidate = live + mine[0], candidate + mine[1]
        of_day = None if not mine[0] else mine[1] / mine[0] - 1
        points.append((day["start"][:10], of_day, None if not live else candidate / live - 1, mine))
    points = points[-DAYS:]
    so_far = [one[2] for one in points if one[2] is not None]
    if not so_far:
        return None
    reach = max(1.25 * more, 1.25 * fewer, *(1.1 * abs(one) for one in so_far), 0.01)
    step = (RIGHT - LEFT) / max(1, len(points) - 1)
    middle = (TOP + BOTTOM) / 2

    def x(at: int) -> float:
        return round(LEFT + step * at if len(points) > 1 else (LEFT + RIGHT) / 2, 1)

    def y(value: float) -> float:
        return round(middle - max(-1.0, min(1.0, value / reach)) * (BOTTOM - TOP) / 2, 1)

    line = " ".join(f"{x(n)},{y(one[2])}" for n, one in enumerate(points) if one[2] is not None)
    last = so_far[-1]
    word = "more" if last >= 0 else "fewer"
    return {
        "line": line,
        "end": (x(len(points) - 1), y(last)),
        "zero": y(0.0),
        "limits": [(y(more), f"+{percent(more, 0)} limit"), (y(-fewer), f"-{percent(fewer, 0)} limit")],
        "dots": [
            {
                "x": x(n),
                "y": y(of_day),
                "title": f"{day}: live blocks {mine[0]:,}, the candidate {mine[1]:,} ({of_day:+.1%})",
            }
            for n, (day, of_day, _, mine) in enumerate(points)
            if of_day is not None
        ],
        "ticks": sorted({(x(0), points[0][0]), (x(len(points) - 1), points[-1][0])}),
        "spoken": f"Blocks beside those of live, {len(points)} event days: {percent(abs(last))} {word} in all",
        "told": f"In all, the candidate blocks {percent(abs(last))} {word} than live: {candidate:,} and {live:,}.",
    }
