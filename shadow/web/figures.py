"""Charts of the differences that a question means, by day and by the size of the gap. SVG, like the report's."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorer.pipeline.instants import DAY_MS
from shadow.serve.desk import Opened
from shadow.web.said import told


def figures(opened: Opened, found_any: bool) -> list[dict[str, Any]]:
    if not found_any:
        return []
    return [by_day(opened), *by_size(opened)]


def by_day(opened: Opened) -> dict[str, Any]:
    """Estimates of each day, live alone below and candidate alone above."""
    table, rows = opened.table, opened.rows
    days = table.entries["occurred"][rows] // DAY_MS
    first = int(max(days.min(), days.max() - 89))
    n = int(days.max()) - first + 1
    inside = days >= first
    sides = table.entries["kind"][rows] == 3
    weights = 1 / table.chances[rows]
    parts = [np.bincount((days - first)[inside & mask], weights[inside & mask], n) for mask in (~sides, sides)]
    top = float((parts[0] + parts[1]).max()) or 1.0
    width, bars = 322 / n, []
    for at in range(n):
        y = 124.0
        title = f"{_date(first + at)}: about {told(float(parts[0][at]))} by live alone, "
        title += f"{told(float(parts[1][at]))} by the candidate alone"
        for style, part in (("fa", parts[0]), ("fb", parts[1])):
            height = 108 * float(part[at]) / top
            y -= height
            bars.append(_bar(34 + at * width, y, max(1.0, width - 1), height, style, title))
    ticks = [(34 + width / 2, _date(first)), (356 - max(width / 2, 28), _date(first + n - 1))] if n > 1 else []
    ticks = ticks or [(195.0, _date(first))]
    if n > 1:
        ticks[0] = (max(ticks[0][0], 62.0), ticks[0][1])
    return {
        "title": "Differences by day",
        "spoken": f"Estimated differences by day, at most {told(top)}",
        "top": told(top),
        "bars": bars,
        "floor": None,
        "ticks": ticks,
        "caption": "Estimates. At the bottom, blue: live alone blocks; on top, orange: the candidate alone.",
    }


def _date(day: int) -> str:
    return str(np.datetime64(max(-700_000, min(day, 2_900_000)), "D"))


def by_size(opened: Opened) -> list[dict[str, Any]]:
    """How large the gaps are, noise or not, with the A/A floor."""
    table = opened.table
    masks = {name: mask for name, mask in opened.masks.items() if name != "#noise"}
    rows = np.flatnonzero(table.met(masks))
    sizes = np.abs(table.gaps[rows])
    known = ~np.isnan(sizes)
    if not known.any():
        return []
    bins = 40
    at = np.minimum((sizes[known] * bins).astype(np.int64), bins - 1)
    heights = np.bincount(at, 1 / table.chances[rows][known], bins)
    top = float(heights.max())
    width = 322 / bins
    bars = [
        _bar(
            34 + n * width,
            124 - 108 * float(value) / top,
            width - 1,
            108 * float(value) / top,
            "bar",
            f"gap {n / bins:.3g} to {(n + 1) / bins:.3g}: about {told(float(value))}",
        )
        for n, value in enumerate(heights.tolist())
        if value
    ]
    floor = None if opened.floor is None else round(34 + 322 * min(1.0, opened.floor), 1)
    said = "" if floor is None else " Left of the dashed line, an A/A control's scores differ as much."
    return [
        {
            "title": "How far apart the scores are",
            "spoken": "Sizes of the gap between the two scores" + ("" if floor is None else ", with the A/A floor"),
            "top": told(top),
            "bars": bars,
            "floor": floor,
            "ticks": [(38.0, "0"), (195.0, "0.5"), (352.0, "1")],
            "caption": f"Size of candidate less live score, small ones included.{said}",
        }
    ]


def _bar(x: float, y: float, width: float, height: float, style: str, title: str) -> dict[str, Any]:
    return {
        "x": round(x, 1),
        "y": round(y, 1),
        "width": round(width, 1),
        "height": round(max(height, 0.0), 1),
        "style": style,
        "title": title,
    }
