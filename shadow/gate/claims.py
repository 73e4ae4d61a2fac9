"""Claims about every segment, with the evidence for and against each: the arithmetic of the gate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shadow.comparison.outcome import Outcome
from shadow.gate.criteria import Criterion, Release
from shadow.gate.sums import (
    CUT,
    HIGHEST,
    LOWEST,
    WHOLE,
    Sums,
    amount_shift,
    amount_side,
    card_shift,
    counted_amount_shift,
    counted_shift,
    excess,
    side,
)
from shadow.statistics.clusters import ClusterRatio, KindRatio
from shadow.statistics.eprocess import Array, Interval, Ratio, log_smaller

#: Chance that an `other` of exactly `maximum_other_share` is ever called small. One of twice that share is so in less
#: than one run of a hundred, and no harm in it can be larger than its share.
OTHER_ERROR = 0.3
#: The part of `maximum_other_share` that the bet on a small `other` aims at: it gains up to 0.78 of that share.
OTHER_AIM = 0.6
#: Multiples of the present evidence that forecasts try.
FACTORS = np.geomspace(1.05, 100, 60)


def factors(axes: int) -> Array:
    """FACTORS along the first axis, before `axes` axes of length 1."""
    return np.asarray(FACTORS.reshape(-1, *[1] * axes))


def smallest_factor(settled: npt.NDArray[np.bool_]) -> Array:
    """The smallest of FACTORS, the first axis, with which a claim is settled; NaN if none is enough."""
    return np.where(settled.any(axis=0), FACTORS[settled.argmax(axis=0)], np.nan)


class Claim(Protocol):
    """The claim that a quantity is at most a limit in each of S segments, at any number of looks.

    limit: (S,). seen: number of `things` behind the evidence, (..., S); None for the compared transactions.
    """

    @property
    def criterion(self) -> Criterion: ...
    @property
    def limit(self) -> Array: ...
    @property
    def seen(self) -> Array | None: ...
    @property
    def things(self) -> str: ...

    def log_within(self) -> Array:
        """Log evidence that the limit is kept: (..., S)."""

    def log_beyond(self) -> Array:
        """Log evidence that the limit is exceeded: (..., S)."""

    def interval(self, alpha: float) -> Interval:
        """Estimate and bounds of the quantity; higher is worse. Each end is wrong, ever, with probability <= alpha."""

    def of_floor(self) -> Array | None:
        """The same quantity of the A/A control: (..., S); None without a control."""

    def times_needed(self, bar: float) -> Array:
        """How many times the present evidence it takes until the log evidence on one side reaches the bar: (..., S).

        NaN where not even the largest of FACTORS is enough.
        """


@dataclass(frozen=True, slots=True)
class RatioClaim:
    """The claim that a ratio is at most `limit`."""

    criterion: Criterion
    ratio: Ratio
    limit: Array
    seen: Array | None = None
    things: str = "transactions"

    def log_within(self) -> Array:
        return self.ratio.log_below(self.limit)

    def log_beyond(self) -> Array:
        return self.ratio.log_above(self.limit)

    def interval(self, alpha: float) -> Interval:
        return self.ratio.bounds(alpha, LOWEST, HIGHEST)

    def of_floor(self) -> Array | None:
        return None

    def times_needed(self, bar: float) -> Array:
        more = self.ratio.times(factors(np.ndim(self.ratio.sums[0])))
        return smallest_factor(np.maximum(more.log_below(self.limit), more.log_above(self.limit)) >= bar)


@dataclass(frozen=True, slots=True)
class ChangeClaim:
    """The claim that blocks, or blocked money, change by at most `limit`.

    measure: the change over card-days, for which there is evidence. counted: the change over transactions, as simply
    counted; None if that is the same. sign: 1 for a rise, -1 for a fall. floor: the change of the A/A control as
    counted, None without one.

    The limit is never taken as kept while the plain count is beyond it, as after an attack by a single card.
    """

    criterion: Criterion
    measure: ClusterRatio | KindRatio
    counted: Array | None
    limit: Array
    sign: int = 1
    floor: Array | None = None
    seen: Array | None = None
    things: str = "transactions"

    @property
    def is_judged(self) -> npt.NDArray[np.bool_]:
        """The segments in which there is a limit: bool (S,)."""
        return np.isfinite(self.limit)

    def log_within(self) -> Array:
        return self._within(self.measure)

    def log_beyond(self) -> Array:
        return self._beyond(self.measure)

    def _within(self, measure: ClusterRatio | KindRatio) -> Array:
        found = self._where_judged(
            lambda some, limit: some.log_below(limit) if self.sign > 0 else some.log_above(-limit), measure
        )
        if self.counted is None:
            return found
        return np.asarray(np.where(self.sign * self.counted > self.limit, np.minimum(found, 0.0), found))

    def _beyond(self, measure: ClusterRatio | KindRatio) -> Array:
        return self._where_judged(
            lambda some, limit: some.log_above(limit) if self.sign > 0 else some.log_below(-limit), measure
        )

    def _where_judged(
        self, log_e: Callable[[ClusterRatio | KindRatio, Array], Array], measure: ClusterRatio | KindRatio
    ) -> Array:
        """Log evidence in the segments that have a limit, 0 in the others."""
        judged = np.flatnonzero(self.is_judged)
        out = np.zeros(measure.estimate.shape)
        if len(judged):
            out[..., judged] = log_e(measure.of(judged), self.limit[judged])
        return out

    def interval(self, alpha: float) -> Interval:
        """The larger change of the two ways of counting, and the bounds of that over card-days.

        The upper bound is never below the estimate. Without bounds where there is no limit.
        """
        judged = np.flatnonzero(self.is_judged)
        estimate = self.sign * self.measure.estimate
        if self.counted is not None:
            estimate = np.maximum(estimate, self.sign * self.counted)
        low, high = np.full(estimate.shape, -np.inf), np.full(estimate.shape, np.inf)
        if len(judged):
            found = self.measure.of(judged).bounds(alpha, LOWEST, HIGHEST)
            ends = (found.low, found.high) if self.sign > 0 else (-found.high, -found.low)
            low[..., judged], high[..., judged] = ends
        return Interval(estimate, low, np.where(np.isnan(estimate), high, np.maximum(high, estimate)))

    def of_floor(self) -> Array | None:
        return None if self.floor is None else self.sign * self.floor

    def stretched(self, factor: float) -> ChangeClaim:
        """The same claim with a multiple of its limit."""
        return replace(self, limit=self.limit * factor)

    def times_needed(self, bar: float) -> Array:
        more = self.measure.times(factors(self.limit.ndim))
        return smallest_factor(np.maximum(self._within(more), self._beyond(more)) >= bar)


def bounded_changes(candidate: Sums, control: Sums | None, release: Release) -> list[ChangeClaim]:
    """The claims that blocks and blocked money rise and fall within their limits."""
    blocks = card_shift(candidate), counted_shift(candidate)
    cut = amount_shift(candidate, CUT), counted_amount_shift(candidate)
    whole = amount_shift(candidate, WHOLE), None
    floors = (
        (None, None, None)
        if control is None
        else (counted_shift(control), counted_amount_shift(control), amount_shift(control, WHOLE).estimate)
    )
    return [
        ChangeClaim(criterion, measured[0], measured[1], release.limit(criterion), sign, floor)
        for criterion, measured, floor, sign in (
            (Criterion.MORE_BLOCKS, blocks, floors[0], 1),
            (Criterion.FEWER_BLOCKS, blocks, floors[0], -1),
            (Criterion.MORE_BLOCKED_AMOUNT, cut, floors[1], 1),
            (Criterion.FEWER_BLOCKED_AMOUNT, cut, floors[1], -1),
            (Criterion.MORE_UNCAPPED_AMOUNT, whole, floors[2], 1),
            (Criterion.FEWER_UNCAPPED_AMOUNT, whole, floors[2], -1),
        )
    ]


def within_floor(candidate: Sums, control: Sums, release: Release) -> RatioClaim:
    """The claim that the candidate disagrees with live little more often than a seed twin of live does."""
    criterion = Criterion.EXCESS_DISAGREEMENT
    return RatioClaim(criterion, excess(candidate, control), release.limit(criterion))


def sides_beyond_floor(candidate: Sums, control: Sums | None, release: Release) -> list[RatioClaim]:
    """The claims that what one model alone blocks cannot do more harm than a limit allows, whatever labels would say.

    For each criterion on harm, in the order of `shadow.gate.harm.label_claims`: fraud can only be lost in what live
    alone blocks, and customers only be insulted in what the candidate alone blocks. What a seed twin of live does as
    well is left out. control: None if the floor is unknown; then nothing is left out.
    """
    live, ours = Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY
    return [
        RatioClaim(criterion, ratio, release.limit(criterion))
        for criterion, ratio in (
            (Criterion.LOST_FRAUD, side(candidate, control, live)),
            (Criterion.LOST_FRAUD_AMOUNT, amount_side(candidate, control, live)),
            (Criterion.INSULTS, side(candidate, control, ours)),
            (Criterion.INSULTS_AMOUNT, amount_side(candidate, control, ours)),
        )
    ]


def parts_of_all(candidate: Sums) -> tuple[Ratio, Ratio]:
    """The share of each segment in the traffic, and in live's blocks, in card-days."""
    ratios = []
    for part in (candidate.compared / candidate.crowding[..., :1], candidate.live_cards):
        ratios.append(Ratio((1, 0), (1, 1), (part, np.maximum(part[..., :1] - part, 0.0))))
    return ratios[0], ratios[1]


def overlooked(candidate: Sums, release: Release) -> npt.NDArray[np.bool_]:
    """The segments `other` that are shown to be too small to matter: bool (..., S)."""
    bar, limit = -math.log(OTHER_ERROR), release.maximum_other_share
    small = []
    for ratio in parts_of_all(candidate):
        part, rest = ratio.sums
        small.append(log_smaller(part, rest, limit, OTHER_AIM) >= bar)
    return np.asarray(small[0] & small[1] & release.others)


def shares(of_all: float, n_segments: int, n_claims: int) -> npt.NDArray[np.float64]:
    """Split the error of a rejection: float64 (n_claims, S), summing to 1. of_all: the part of segment 0."""
    rest = (1 - of_all) / max(1, n_segments - 1)
    each = np.array([of_all if n_segments > 1 else 1.0] + [rest] * (n_segments - 1))
    return np.tile(each / n_claims, (n_claims, 1))
