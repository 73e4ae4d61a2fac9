"""What the released of the drawn would-be blocks say of all of them: exploration, weighed. Pure.

Live draws some of its would-be blocks and releases each of these with a known probability p. What was released gets a
label as any allowed transaction does, and stands for 1/p of the drawn: Horvitz and Thompson (1952), "A generalization
of sampling without replacement from a finite universe". How many were drawn, and their money, is known exactly. So only
the *share* of fraud is estimated, as the weighed mean of the released, and taken times what is known: the
self-normalised estimate of Hájek (1971), comment on "An essay on the logical foundations of survey sampling". Its bias
falls as one over the number of released; its error is far smaller than that of the plain sum of weights, as that errs
in the number of the drawn, too; and it never leaves 0 to 1.

What was released of one card is one case, on however many days: the error is that of sums by card, by linearisation
(Binder 1983, "On the variances of asymptotically normal estimators from complex surveys"). Limits are Wilson's on the
number of independent cases that have this error, but on no more than the effective number of released, and of cards
where few are fraud or few are honest; so a share of 0 or 1 has a width, too (Korn and Graubard 1998, "Confidence
intervals for proportions with small expected number of positive counts estimated from survey data"). The quantile is
Student's.

The effective number is (sum of w)^2 / (sum of w^2): Kish (1965), "Survey sampling". It is taken of the released cards,
and as it was to be expected of the drawn, N^2 / (sum of 1/p); the smaller one counts. The second needs no luck: of
blocks that are hardly ever released, none may have come, and the released then look alike while they stand for others.

Reviews of drawn blocks that were not released are in no estimate: who is reviewed is chosen otherwise than who is
released, and a released one could not have been chosen. Counting both would count these blocks twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # which loads `special` where it is first used

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Digests = npt.NDArray[np.uint64]

#: The standard normal quantile of intervals of 95 %.
Z = 1.959964
#: Fraud, honest, unknown.
STATES = 3
#: The effective number of released cards from which there is an estimate.
NEEDED = 30
#: Cards of fraud, or of honest customers, below which the error is not taken from them.
FEW = 10
#: Drawn at less than this is as good as never released: such blocks are taken as not drawn.
LEAST_PROBABILITY = 1e-4


def wilson(part: float, whole: float, crowding: float = 1.0, quantile: float = Z) -> tuple[float, float]:
    """The Wilson limits of a share, of things that come `crowding` at a time. 0 and 1 for nothing of nothing.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    if not whole:
        return 0.0, 1.0
    n, share = whole / crowding, min(1.0, part / whole)
    middle = share + quantile * quantile / (2 * n)
    width = quantile * math.sqrt(share * (1 - share) / n + quantile * quantile / (4 * n * n))
    scale = 1 + quantile * quantile / n
    low = max(0.0, (middle - width) / scale) if share > 0 else 0.0
    return low, min(1.0, (middle + width) / scale) if share < 1 else 1.0


@dataclass(frozen=True)
class Share:
    """The share of fraud of the drawn, and its limits of 95 %. errors: float64 (cards,), what each adds to it."""

    value: float
    low: float
    high: float
    errors: Floats

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError(f"share: {self.value} is not between its limits {self.low} and {self.high}, in 0 to 1")


@dataclass(frozen=True, slots=True)
class Support:
    """What stands behind an estimate. drawn, released, cards: how many. effective: cards that these are worth."""

    drawn: int
    released: int
    cards: int
    effective: float

    @property
    def is_enough(self) -> bool:
        return self.effective >= NEEDED

    @property
    def reason(self) -> str | None:
        """Why there is no estimate; None if there is one.

        >>> Support(90, 8, 7, 6.5).reason
        'too few released to say: 7 of the 30 cards needed'
        """
        if self.is_enough:
            return None
        if not self.drawn:
            return "none of them was drawn"
        if self.cards < NEEDED:
            return f"too few released to say: {self.cards} of the {NEEDED} cards needed"
        return (
            f"the released weigh too unevenly to say: they are worth {math.floor(self.effective)} of the {NEEDED} "
            "cards needed"
        )


@dataclass(frozen=True)
class Stratum:
    """Drawn would-be blocks that are estimated together.

    counts, minor, squares: (STATES,), what is known of them, of which only the sums are used for an estimate. fraud:
    share of fraud in their number; money: in their money. None: too thin.
    """

    counts: Counts
    minor: Floats
    squares: Floats
    fraud: Share | None
    money: Share | None
    support: Support
    money_support: Support

    @property
    def n(self) -> int:
        return int(self.counts.sum())


@dataclass(frozen=True)
class Draw:
    """What was drawn of n judged transactions. probabilities: float64 (n,), that of a release, above 0; 1 for what was
    not drawn. is_released: bool (n,), of the drawn. cards: uint64 (n,), a digest of the card."""

    probabilities: Floats
    is_released: Flags
    cards: Digests

    @property
    def is_drawn(self) -> Flags:
        return np.asarray(self.probabilities < 1, dtype=np.bool_)


class DrawnSums:
    """Sums over drawn would-be blocks, by segment, and every released one.

    Memory grows with the released alone, by some 100 bytes each.
    """

    def __init__(self, segments: int, bins: int) -> None:
        cells, curve = (segments, 4, STATES), (2, segments, bins, STATES)
        self.counts: Counts = np.zeros(cells, dtype=np.int64)
        self.minor: Floats = np.zeros(cells)
        self.squares: Floats = np.zeros(cells)
        self.inverse: Floats = np.zeros(cells[:2])
        self.inverse_squares: Floats = np.zeros(cells[:2])
        self.bin_counts: Counts = np.zeros(curve, dtype=np.int64)
        self.bin_minor: Floats = np.zeros(curve)
        self.bin_inverse: Floats = np.zeros(curve[:3])
        self.bin_inverse_squares: Floats = np.zeros(curve[:3])
        self._parts: list[Released] = []

    def add(
        self, draw: Draw, segments: Counts, cell: Counts, bins: Counts, states: Counts, minor: Counts, is_fraud: Flags
    ) -> None:
        """Add what was drawn of n transactions. segments: (n, k). bins: (2, n), by model."""
        is_drawn = draw.is_drawn
        if not is_drawn.any():
            return
        inverse, money = 1 / draw.probabilities[is_drawn], minor[is_drawn].astype(np.float64)
        kind, state, bins = cell[is_drawn], states[is_drawn], bins[:, is_drawn]
        for column in segments[is_drawn].T:
            np.add.at(self.counts, (column, kind, state), 1)
            np.add.at(self.minor, (column, kind, state), money)
            np.add.at(self.squares, (column, kind, state), money**2)
            np.add.at(self.inverse, (column, kind), inverse)
            np.add.at(self.inverse_squares, (column, kind), inverse * money**2)
            for model in range(2):
                np.add.at(self.bin_counts[model], (column, bins[model], state), 1)
                np.add.at(self.bin_minor[model], (column, bins[model], state), money)
                np.add.at(self.bin_inverse[model], (column, bins[model]), inverse)
                np.add.at(self.bin_inverse_squares[model], (column, bins[model]), inverse * money**2)
        hit = draw.is_released[is_drawn]
        self._parts.append(
            Released(
                segments[is_drawn][hit],
                kind[hit],
                bins[:, hit],
                inverse[hit],
                money[hit],
                is_fraud[is_drawn][hit],
                draw.cards[is_drawn][hit],
            )
        )

    @property
    def released(self) -> Released:
        """Every released one."""
        parts = self._parts
        if len(parts) != 1:
            width = parts[0].segments.shape[1] if parts else 1
            none = np.zeros(0)
            whole = Released(
                np.concatenate([part.segments for part in parts]) if parts else np.zeros((0, width), dtype=np.int64),
                np.concatenate([none.astype(np.int64), *(part.cell for part in parts)]),
                np.concatenate([np.zeros((2, 0), dtype=np.int64), *(part.bins for part in parts)], axis=1),
                np.concatenate([none, *(part.weights for part in parts)]),
                np.concatenate([none, *(part.minor for part in parts)]),
                np.concatenate([none.astype(np.bool_), *(part.is_fraud for part in parts)]),
                np.concatenate([none.astype(np.uint64), *(part.cards for part in parts)]),
            )
            self._parts = parts = [whole]
        return parts[0]

    def stratum(self, at: int, cells: list[int]) -> Stratum:
        """The drawn of some cells in a segment."""
        if not self._parts:
            return NONE_DRAWN
        released = self.released.of(at)
        return _stratum(
            self.counts[at][cells].sum(axis=0),
            self.minor[at][cells].sum(axis=0),
            self.squares[at][cells].sum(axis=0),
            float(self.inverse[at][cells].sum()),
            float(self.inverse_squares[at][cells].sum()),
            released,
            np.isin(released.cell, cells),
        )

    def above(self, model: int, at: int) -> list[Stratum]:
        """The drawn that a model would block, in a segment, at each threshold of the grid. Their squares are 0."""
        if not self._parts:
            return [NONE_DRAWN] * (self.bin_counts.shape[2] - 1)
        released = self.released.of(at)
        counts, minor = _from_above(self.bin_counts[model, at]), _from_above(self.bin_minor[model, at])
        inverse = _from_above(self.bin_inverse[model, at])
        inverse_squares = _from_above(self.bin_inverse_squares[model, at])
        return [
            _stratum(
                counts[threshold],
                minor[threshold],
                np.zeros_like(minor[threshold]),
                float(inverse[threshold]),
                float(inverse_squares[threshold]),
                released,
                released.bins[model] > threshold,
            )
            for threshold in range(len(counts))
        ]


#: Where nothing was drawn.
NONE_DRAWN = Stratum(
    np.zeros(STATES, dtype=np.int64), np.zeros(STATES), np.zeros(STATES), None, None, *[Support(0, 0, 0, 0.0)] * 2
)


def _from_above(bins: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums of what lies above each threshold: (bins - 1, ...)."""
    return np.cumsum(bins[:0:-1], axis=0)[::-1]


@dataclass(frozen=True)
class Released:
    """Released would-be blocks. segments: int64 (n, k). cell, weights, minor, is_fraud, cards: (n,). bins: (2, n)."""

    segments: Counts
    cell: Counts
    bins: Counts
    weights: Floats
    minor: Floats
    is_fraud: Flags
    cards: Digests

    def of(self, segment: int) -> Released:
        """Those of a segment, with cards numbered from 0."""
        mine = (self.segments == segment).any(axis=1)
        codes = np.unique(self.cards[mine], return_inverse=True)[1].astype(np.uint64)
        return Released(
            self.segments[mine],
            self.cell[mine],
            self.bins[:, mine],
            self.weights[mine],
            self.minor[mine],
            self.is_fraud[mine],
            codes,
        )


def _stratum(
    counts: Counts,
    minor: Floats,
    squares: Floats,
    inverse: float,
    inverse_squares: float,
    released: Released,
    mine: Flags,
) -> Stratum:
    """inverse, inverse_squares: sums over the drawn of 1/p, and of squared money over p."""
    cards, is_fraud = released.cards[mine].astype(np.int64), released.is_fraud[mine]
    width = int(released.cards.max()) + 1 if len(released.cards) else 0
    found: list[Share | None] = []
    supports: list[Support] = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for weights, whole, expected in (
            (released.weights[mine], float(counts.sum()), inverse),
            (released.weights[mine] * released.minor[mine], float(minor.sum()), inverse_squares),
        ):
            by_card = np.bincount(cards, weights, minlength=width)
            total = float(by_card.sum())
            effective = min(_effective(total, float((by_card**2).sum())), _effective(whole, expected))
            heard = int(np.count_nonzero(by_card))
            supports.append(Support(int(counts.sum()), int(mine.sum()), heard, effective))
            is_enough = supports[-1].is_enough
            found.append(_share(weights / total, is_fraud, cards, width, effective) if is_enough else None)
    return Stratum(counts, minor, squares, found[0], found[1], supports[0], supports[1])


def _effective(total: float, squares: float) -> float:
    """Equal cases that parts with this total and sum of squares are worth; 0 for none, and for numbers out of reach."""
    found = total * total / squares if squares > 0 and total > 0 else 0.0
    return found if math.isfinite(found) else 0.0


def _share(weights: Floats, is_fraud: Flags, cards: Counts, width: int, effective: float) -> Share:
    """The weighed share of fraud. weights: of sum 1."""
    frauds, honest = (float(weights[which].sum()) for which in (is_fraud, ~is_fraud))
    value = frauds / (frauds + honest)  # exactly 1 or 0 where all are alike, however the weights were rounded
    errors: Floats = np.asarray(np.bincount(cards, weights * (is_fraud - value), minlength=width), dtype=np.float64)
    many, of_fraud, of_honest = (
        int(np.count_nonzero(np.bincount(cards, part, minlength=width)))
        for part in (weights, weights * is_fraud, weights * ~is_fraud)
    )
    variance = float((errors**2).sum()) * many / (many - 1)
    # an error that is made of few cards is not to be relied on: then each card is one case
    most = effective if min(of_fraud, of_honest) < FEW else 1 / float((weights**2).sum())
    cases = min(most, value * (1 - value) / variance) if variance > 0 else effective
    low, high = wilson(value * cases, cases, quantile=float(scipy.special.stdtrit(effective - 1, 0.975)))
    return Share(value, min(low, value), max(high, value), errors)


def together(first: Share, second: Share) -> float:
    """How much the errors of two shares go together, as cards may be in both: -1 to 1."""
    scale = math.sqrt(float((first.errors**2).sum()) * float((second.errors**2).sum()))
    return float(first.errors @ second.errors) / scale if scale > 0 else 0.0
