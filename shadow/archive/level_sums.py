"""Sums over judged transactions, from which levels come. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shadow.archive.drawn import STATES, Counts, Draw, DrawnSums, Floats

#: What is known of a judged transaction.
FRAUD, HONEST, UNKNOWN = 0, 1, 2
#: The models, by row.
MODELS: tuple[Literal["live"], Literal["candidate"]] = ("live", "candidate")
#: Thresholds of the curve.
GRID = np.round(np.linspace(0.0, 1.0, 101), 2)


@dataclass(frozen=True)
class Judged:
    """n judged transactions that both models have a decision and a score on.

    blocks: bool (2, n), by model. scores: float64 (2, n). states: int64 (n,). minor: int64 (n,), minor units. segments:
    int64 (n, k), positions in the names. card_days: uint64 (n,), a digest of card and day. draw: what was drawn and
    released of live's blocks; a released one is a block of live whose state is known. None: nothing was drawn.
    """

    blocks: npt.NDArray[np.bool_]
    scores: Floats
    states: Counts
    minor: Counts
    segments: Counts
    card_days: npt.NDArray[np.uint64]
    draw: Draw | None = None


class LevelSums:
    """Sums over judged transactions, by segment.

    counts, minor, squares: (S, 4, STATES), by what live and the candidate decide (0: both allow, 1: live alone blocks,
    2: the candidate alone, 3: both) and state. above, minor_above: (2, S, thresholds, STATES), what each model would
    block at each of the grid. pending, unscored: (S,), transactions that are not judged: too young, or without a score
    of both models. Money is exact up to 2**53 minor units. Memory grows with the card-days on which something is
    blocked or fraud, and with the released, and with nothing else. drawn: those of the
    drawn, which are in all others, too.
    """

    def __init__(self, segments: int) -> None:
        shape, curve = (segments, 4, STATES), (2, segments, len(GRID) + 1, STATES)
        self.counts: Counts = np.zeros(shape, dtype=np.int64)
        self.minor: Floats = np.zeros(shape)
        self.squares: Floats = np.zeros(shape)
        self._bins: Counts = np.zeros(curve, dtype=np.int64)
        self._minor_bins: Floats = np.zeros(curve)
        self.drawn = DrawnSums(segments, len(GRID) + 1)
        self.pending: Counts = np.zeros(segments, dtype=np.int64)
        self.unscored: Counts = np.zeros(segments, dtype=np.int64)
        self._notable: Counts = np.zeros(segments, dtype=np.int64)
        self._card_days: list[npt.NDArray[np.uint64]] = [np.zeros(0, dtype=np.uint64) for _ in range(segments)]

    def add(self, rows: Judged) -> None:
        """Add judged transactions."""
        cell = rows.blocks[0].astype(np.int64) + 2 * rows.blocks[1].astype(np.int64)
        bins = np.stack([np.searchsorted(GRID, scores, side="right") for scores in rows.scores])
        notable = (cell > 0) | (rows.states == FRAUD)
        if rows.draw is not None:
            self.drawn.add(rows.draw, rows.segments, cell, bins, rows.states, rows.minor, rows.states == FRAUD)
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
