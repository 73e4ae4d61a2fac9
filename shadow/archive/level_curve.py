"""What a model would do at each threshold, and which one saves most. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shadow.archive.level_figures import NOTHING, Part, Side, money
from shadow.archive.level_sums import FRAUD, GRID, HONEST, UNKNOWN, LevelSums
from shadow.archive.levels import Costs


class Basis(StrEnum):
    """What money saved at a threshold rests on."""

    KNOWN = "known"
    ESTIMATE = "estimate"
    MIXED = "estimate and ends"
    ENDS = "ends"


@dataclass(frozen=True, slots=True)
class Point:
    """What a model would do at a threshold. fraud, honest, unknown: what labels say of its blocks. saved: in minor
    units, at either end of what is neither known nor estimated. error: of the estimate, half of an interval of 95 %.
    """

    threshold: float
    blocks: int
    fraud: int
    honest: int
    unknown: int
    saved_low: float
    saved_high: float
    basis: Basis
    drawn: int
    effective: float
    error: float


def curve(sums: LevelSums, model: int, at: int, costs: Costs) -> list[Point]:
    """What a model would do at each threshold of the grid, in a segment by position."""
    out = []
    above = zip(GRID, sums.above[model, at], sums.minor_above[model, at], sums.drawn.above(model, at), strict=True)
    for threshold, counts, minor, drawn in above:
        side = Side(NOTHING, Part(counts, minor, NOTHING.squares), drawn)
        kept, cost = 1 - costs.recovered, costs.honest_block
        stratum = side.estimated(cost > 0, kept > 0)
        rest = side.but(stratum)
        low = high = kept * float(rest.minor[FRAUD]) - cost * float(rest.counts[HONEST])
        low -= cost * float(rest.counts[UNKNOWN])
        high += kept * float(rest.minor[UNKNOWN])
        error = 0.0
        if stratum is not None:
            alone = Side(NOTHING, Part(drawn.counts, drawn.minor, drawn.squares), drawn)
            estimate = money(alone, kept, -cost, None).estimate
            if estimate is not None:
                low, high = low + estimate.value, high + estimate.value
                error = max(estimate.high - estimate.value, estimate.value - estimate.low)
        is_open = bool(rest.counts[UNKNOWN])
        basis = (
            (Basis.ENDS if is_open else Basis.KNOWN) if stratum is None else Basis.MIXED if is_open else Basis.ESTIMATE
        )
        out.append(
            Point(
                float(threshold),
                int(counts.sum()),
                int(counts[FRAUD]),
                int(counts[HONEST]),
                int(counts[UNKNOWN]),
                low,
                high,
                basis,
                drawn.n,
                drawn.support.effective,
                error,
            )
        )
    return out


def cheapest(points: Sequence[Point]) -> tuple[Point, Point]:
    """The thresholds that save most if all that is unknown is honest, and if all of it is fraud; the highest of equals.

    The best of many on the same data promises a little too much.
    """
    low = max(points, key=lambda point: (point.saved_low, point.threshold))
    return low, max(points, key=lambda point: (point.saved_high, point.threshold))
