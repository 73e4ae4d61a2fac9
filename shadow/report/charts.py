"""Small charts: where their lines and texts lie, in units of a picture 360 wide, so that they fit a phone. Pure.

The templates draw them. Colours are classes of the page (`a`, `b`, `pass`, `fail`, `thin`), so that dark mode and print
need no other charts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 34
#: Size of an interval in a table, and the margin at either end.
SPAN_WIDTH, SPAN_HEIGHT, SPAN_MARGIN = 160, 18, 4


@dataclass(frozen=True, slots=True)
class Line:
    """A curve. style: classes of the page. steps: draw it as a histogram's outline."""

    x: Sequence[float]
    y: Sequence[float]
    style: str
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A straight line across the whole chart: at an x, or at a y."""

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

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; values beyond them lie at the ends."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over two axes. title: for those who do not see it."""

    title: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    marks: Sequence[Mark] = ()

    def across(self, value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * self.x.share(value), 1)

    def up(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y.share(value), 1)

    @property
    def rows(self) -> list[tuple[float, str]]:
        """Height and text of each tick of the y axis."""
        return [(self.up(value), text) for value, text in self.y.ticks]

    @property
    def columns(self) -> list[tuple[float, str]]:
        """Place and text of each tick of the x axis."""
        return [(self.across(value), text) for value, text in self.x.ticks]

    @property
    def paths(self) -> Iterator[tuple[str, str]]:
        """Style and SVG path of each line that has a finite point."""
        for line in self.lines:
            points = [(self.across(a), self.up(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
            if points:
                join = "H{0}V{1}" if line.steps else "L{0} {1}"
                first = f"M{points[0][0]} {points[0][1]}"
                yield line.style, first + "".join(join.format(*point) for point in points[1:])


@dataclass(frozen=True, slots=True)
class Span:
    """An interval with its estimate, and a tick beside it, for a line of a table. tick: None for none."""

    low: float
    estimate: float
    high: float
    tick: float | None
    axis: Axis
    style: str

    def across(self, value: float) -> float:
        return round(SPAN_MARGIN + (SPAN_WIDTH - 2 * SPAN_MARGIN) * self.axis.share(value), 1)
