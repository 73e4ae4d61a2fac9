"""Small charts as SVG text: 360 units wide, so that they are read at full size on a phone. Pure.

Colours are classes of the page that holds them (`a`, `b`, `pass`, `fail`, `thin`), so dark mode and print need no
other charts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 34


@dataclass(frozen=True, slots=True)
class Line:
    """A curve. style: classes of the page; `steps` draws it as a histogram's outline."""

    x: Sequence[float]
    y: Sequence[float]
    style: str
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A straight line over the whole chart: at an x, or at a y."""

    style: str
    label: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a chart begins and ends, and its ticks (value, text)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str


def chart(title: str, lines: Sequence[Line], x: Axis, y: Axis, marks: Sequence[Mark] = ()) -> str:
    """Lines over two axes. What lies beyond an axis is drawn at its end. title: for those who do not see it."""

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(value, x)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, y)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    ]
    for value, text in y.ticks:
        at = up(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 5}" y="{at + 4:.1f}">{escape(text)}</text>')
    for value, text in x.ticks:
        parts.append(f'<text class="tick mid" x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 14}">{escape(text)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick mid" x="{middle:.1f}" y="{HEIGHT - 4}">{escape(x.label)}</text>')
    parts.append(f'<text class="tick" x="2" y="10">{escape(y.label)}</text>')
    for n, mark in enumerate(marks):
        if mark.x is not None:
            at = across(mark.x)
            parts.append(f'<path class="{mark.style}" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(
                f'<text class="tick" x="{at + 3:.1f}" y="{TOP + 10 + 12 * (n % 3)}">{escape(mark.label)}</text>'
            )
        elif mark.y is not None:
            at = up(mark.y)
            parts.append(f'<path class="{mark.style}" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text class="tick end" x="{WIDTH - RIGHT}" y="{at - 3:.1f}">{escape(mark.label)}</text>')
    for line in lines:
        points = [(across(a), up(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
        if points:
            join = "H{0:.1f}V{1:.1f}" if line.steps else "L{0:.1f} {1:.1f}"
            path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(join.format(*point) for point in points[1:])
            parts.append(f'<path class="line {line.style}" d="{path}"/>')
    return "".join([*parts, "</svg>"])


def span(low: float, estimate: float, high: float, floor: float | None, axis: Axis, style: str) -> str:
    """An interval with its estimate, and the control's beside it, on one line of a table."""
    wide, high_px = 160, 18

    def across(value: float) -> float:
        return 4 + (wide - 8) * _share(value, axis)

    parts = [f'<svg class="span" viewBox="0 0 {wide} {high_px}" aria-hidden="true">']
    parts.append(f'<path class="grid" d="M{across(0):.1f} 0V{high_px}"/>')
    parts.append(f'<path class="bar {style}" d="M{across(low):.1f} 9H{across(high):.1f}"/>')
    parts.append(f'<circle class="dot {style}" cx="{across(estimate):.1f}" cy="9" r="4"/>')
    if floor is not None:
        at = across(floor)
        parts.append(f'<path class="floor" d="M{at:.1f} 2V16"/>')
    return "".join([*parts, "</svg>"])


def _share(value: float, axis: Axis) -> float:
    """Where a value lies between the ends of an axis, 0 to 1."""
    return min(1.0, max(0.0, (value - axis.low) / (axis.high - axis.low)))
