"""How well live and a candidate do by what labels say: precision, recall, insults and money, by segment. Pure.

Only transactions whose label has had time to come are judged: those that happened at least the label delay before the
moment as of which it is asked. All others are pending, whatever their label. Of the judged ones

* fraud is what a review calls fraud, or, without a review that decides, a chargeback on what live allowed;
* honest is what a review calls honest, or what live allowed and nobody charged back;
* unknown is what live blocked and nobody could decide: no chargeback can follow a block.

So a figure has two ends: all that is unknown were fraud, or all of it honest, whichever is worse and better. The ends
are Wilson limits (95 %) of these two, on numbers divided by the transactions of a card-day, as transactions of one card
and day share their fate. Money has normal limits, with the same factor. Without unknowns both ends are of one figure.
Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: What is known of a judged transaction.
FRAUD, HONEST, UNKNOWN = 0, 1, 2
STATES = 3
#: The models, by row.
MODELS: tuple[Literal["live"], Literal["candidate"]] = ("live", "candidate")
#: Thresholds of the curve.
GRID = np.round(np.linspace(0.0, 1.0, 101), 2)
#: The standard normal quantile of intervals of 95 %.
Z = 1.959964


@dataclass(frozen=True)
class Judged:
    """n judged transactions that both models have a decision and a score on.

    blocks: bool (2, n), by model. scores: float64 (2, n). states: int64 (n,). minor: int64 (n,), minor units. segments:
    int64 (n, k), positions in the names. card_days: uint64 (n,), a digest of card and day.
    """

    blocks: npt.NDArray[np.bool_]
    scores: Floats
    states: Counts
    minor: Counts
    segments: Counts
    card_days: npt.NDArray[np.uint64]


class LevelSums:
    """Sums over judged transactions, by segment.

    counts, minor, squares: (S, 4, STATES), by what live and the candidate decide (0: both allow, 1: live alone blocks,
    2: the candidate alone, 3: both) and state. above, minor_above: (2, S, thresholds, STATES), what each model would
    block at each of the grid. pending, unscored: (S,), transactions that are not judged: too young, or without a score
    of both models. Money is exact up to 2**53 minor units. Memory grows with the card-days on which something is
    blocked or fraud, and with nothing else.
    """

    def __init__(self, segments: int) -> None:
        shape, curve = (segments, 4, STATES), (2, segments, len(GRID) + 1, STATES)
        self.counts: Counts = np.zeros(shape, dtype=np.int64)
        self.minor: Floats = np.zeros(shape)
        self.squares: Floats = np.zeros(shape)
        self._bins: Counts = np.zeros(curve, dtype=np.int64)
        self._minor_bins: Floats = np.zeros(curve)
        self.pending: Counts = np.zeros(segments, dtype=np.int64)
        self.unscored: Counts = np.zeros(segments, dtype=np.int64)
        self._notable: Counts = np.zeros(segments, dtype=np.int64)
        self._card_days: list[npt.NDArray[np.uint64]] = [np.zeros(0, dtype=np.uint64) for _ in range(segments)]

    def add(self, rows: Judged) -> None:
        """Add judged transactions."""
        cell = rows.blocks[0].astype(np.int64) + 2 * rows.blocks[1].astype(np.int64)
        bins = np.stack([np.searchsorted(GRID, scores, side="right") for scores in rows.scores])
        notable = (cell > 0) | (rows.states == FRAUD)
        for column in rows.segments.T:
            at = (column, cell, rows.states)
            np.add.at(self.counts, at, 1)
            np.add.at(self.minor, at, rows.minor)
            np.add.at(self.squares, at, rows.minor.astype(np.float64) ** 2)
            for model in range(2):
                np.add.at(self._bins[model], (column, bins[model], rows.states), 1)
                np.add.at(self._minor_bins[model], (column, bins[model], rows.states), rows.minor)
            for segment in np.unique(column[notable]):
                mine = rows.card_days[notable & (column == segment)]
                self._notable[segment] += len(mine)
                self._card_days[segment] = np.union1d(self._card_days[segment], mine)

    def leave_out(self, segments: Counts, is_pending: bool) -> None:
        """Count transactions that are not judged. segments: int64 (n, k)."""
        into = self.pending if is_pending else self.unscored
        np.add.at(into, segments.ravel(), 1)

    @property
    def above(self) -> Counts:
        """What each model would block at each threshold: a score equal to it blocks."""
        return np.cumsum(self._bins[:, :, :0:-1], axis=2)[:, :, ::-1]

    @property
    def minor_above(self) -> Floats:
        return np.cumsum(self._minor_bins[:, :, :0:-1], axis=2)[:, :, ::-1]

    @property
    def crowding(self) -> Floats:
        """Transactions that are blocked or fraud for each of their card-days, at least 1: (S,)."""
        days = np.array([len(days) for days in self._card_days])
        return np.asarray(np.maximum(1.0, self._notable / np.maximum(days, 1)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure between its worst and best end. value: None while what is unknown could change it."""

    value: float | None
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, slots=True)
class Costs:
    """What a decision costs. honest_block: of blocking an honest customer, in minor units. recovered: the share of the
    money of fraud that comes back although it was allowed, so that blocking it saves the rest."""

    honest_block: float = 0.0
    recovered: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelLevels:
    """The levels of a model in a segment. saved: minor units, against a model that blocks nothing."""

    blocks: int
    unknown: int
    precision: Figure | None
    recall: Figure | None
    recall_of_money: Figure | None
    insult_rate: Figure | None
    saved: Figure

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        def of(figure: Figure | None) -> dict[str, Any] | None:
            return None if figure is None else figure.to_json()

        saved = self.saved
        value = None if saved.value is None else saved.value / minor_per_unit
        in_units = Figure(value, saved.low / minor_per_unit, saved.high / minor_per_unit, saved.n)
        return {
            "blocks": self.blocks,
            "unknown": self.unknown,
            "precision": of(self.precision),
            "recall": of(self.recall),
            "recall_of_amount": of(self.recall_of_money),
            "insult_rate": of(self.insult_rate),
            "saved": of(in_units),
        }


@dataclass(frozen=True, slots=True)
class SegmentLevels:
    """The levels of both models in a segment. judged, pending, unscored: transactions."""

    segment: str
    judged: int
    pending: int
    unscored: int
    fraud: int
    live: ModelLevels
    candidate: ModelLevels


def levels(sums: LevelSums, names: Sequence[str], costs: Costs) -> Iterator[SegmentLevels]:
    """The levels of each segment in which there is anything. names: of the segments."""
    crowding = sums.crowding
    for at, name in enumerate(names):
        counts = sums.counts[at]
        if not counts.sum() + sums.pending[at] + sums.unscored[at]:
            continue
        parts = [_model(sums, at, rows, costs, float(crowding[at])) for rows in ([1, 3], [2, 3])]
        yield SegmentLevels(
            name,
            int(counts.sum()),
            int(sums.pending[at]),
            int(sums.unscored[at]),
            int(counts[:, FRAUD].sum()),
            *parts,
        )


def _model(sums: LevelSums, at: int, rows: list[int], costs: Costs, crowding: float) -> ModelLevels:
    """rows: the cells in which the model blocks."""
    all_counts, all_minor = sums.counts[at].sum(axis=0), sums.minor[at].sum(axis=0)
    counts, minor, squares = (part[at][rows].sum(axis=0) for part in (sums.counts, sums.minor, sums.squares))
    blocked = int(counts.sum())
    missed = all_counts - counts
    missed_minor = all_minor - minor
    return ModelLevels(
        blocks=blocked,
        unknown=int(counts[UNKNOWN]),
        precision=_ratio((counts[FRAUD], blocked), (counts[FRAUD] + counts[UNKNOWN], blocked), crowding),
        recall=_ratio(
            (counts[FRAUD], all_counts[FRAUD] + missed[UNKNOWN]),
            (counts[FRAUD] + counts[UNKNOWN], all_counts[FRAUD] + counts[UNKNOWN]),
            crowding,
        ),
        recall_of_money=_share(
            (minor[FRAUD], all_minor[FRAUD] + missed_minor[UNKNOWN]),
            (minor[FRAUD] + minor[UNKNOWN], all_minor[FRAUD] + minor[UNKNOWN]),
            int(all_counts[FRAUD]),
        ),
        insult_rate=_ratio(
            (counts[HONEST], all_counts[HONEST] + missed[UNKNOWN]),
            (counts[HONEST] + counts[UNKNOWN], all_counts[HONEST] + counts[UNKNOWN]),
            crowding,
        ),
        saved=_saved(counts, minor, squares, costs, crowding),
    )


Pair = tuple[Any, Any]


def _ratio(low: Pair, high: Pair, crowding: float) -> Figure | None:
    """A share between two: (part, whole) at either end of what is unknown. None where there is nothing to divide by."""
    if not low[1] and not high[1]:
        return None
    value = low[0] / low[1] if low == high else None
    return Figure(
        None if value is None else float(value),
        wilson(int(low[0]), int(low[1]), crowding)[0],
        wilson(int(high[0]), int(high[1]), crowding)[1],
        int(max(low[1], high[1])),
    )


def _share(low: Pair, high: Pair, n: int) -> Figure | None:
    """A share of money at either end of what is unknown, without an error of sampling. n: transactions of the whole."""
    if not low[1] and not high[1]:
        return None
    ends = [float(part / whole) if whole else default for (part, whole), default in ((low, 0.0), (high, 1.0))]
    return Figure(ends[0] if low == high else None, ends[0], ends[1], n)


def wilson(part: int, whole: int, crowding: float = 1.0) -> tuple[float, float]:
    """The Wilson limits of a share, of things that come `crowding` at a time. 0 and 1 for nothing of nothing.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not whole:
        return 0.0, 1.0
    n, share = whole / crowding, part / whole
    middle = share + Z * Z / (2 * n)
    width = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def _saved(counts: Counts, minor: Floats, squares: Floats, costs: Costs, crowding: float) -> Figure:
    """Money that blocks save, less what those of honest customers cost."""
    kept, cost = 1 - costs.recovered, costs.honest_block
    sure = kept * float(minor[FRAUD]) - cost * float(counts[HONEST])
    spread = kept**2 * float(squares[FRAUD]) + cost**2 * float(counts[HONEST])
    worst, best = sure - cost * float(counts[UNKNOWN]), sure + kept * float(minor[UNKNOWN])
    low = worst - Z * math.sqrt(crowding * (spread + cost**2 * float(counts[UNKNOWN])))
    high = best + Z * math.sqrt(crowding * (spread + kept**2 * float(squares[UNKNOWN])))
    return Figure(None if counts[UNKNOWN] else sure, low, high, int(counts.sum()))


@dataclass(frozen=True, slots=True)
class Point:
    """What a model would do at a threshold, at either end of what is unknown. Minor units."""

    threshold: float
    blocks: int
    fraud: int
    honest: int
    unknown: int
    saved_low: float
    saved_high: float


def curve(sums: LevelSums, model: int, at: int, costs: Costs) -> list[Point]:
    """What a model would do at each threshold of the grid, in a segment by position."""
    out = []
    for threshold, counts, minor in zip(GRID, sums.above[model, at], sums.minor_above[model, at], strict=True):
        sure = (1 - costs.recovered) * float(minor[FRAUD]) - costs.honest_block * float(counts[HONEST])
        out.append(
            Point(
                float(threshold),
                int(counts.sum()),
                int(counts[FRAUD]),
                int(counts[HONEST]),
                int(counts[UNKNOWN]),
                sure - costs.honest_block * float(counts[UNKNOWN]),
                sure + (1 - costs.recovered) * float(minor[UNKNOWN]),
            )
        )
    return out


def cheapest(points: Sequence[Point]) -> tuple[Point, Point]:
    """The thresholds that save most if all that is unknown is honest, and if all of it is fraud; the highest of equals.

    The best of many on the same data promises a little too much.
    """
    low = max(points, key=lambda point: (point.saved_low, point.threshold))
    return low, max(points, key=lambda point: (point.saved_high, point.threshold))
