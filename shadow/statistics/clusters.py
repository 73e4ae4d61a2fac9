"""Evidence about a ratio of sums over clusters whose sizes differ, known only by moments and maxima.

A cluster, such as one card on one day, adds d to the numerator and t to the denominator: its *net* change, of either
sign, and its *base*, 0 or more. A bet b on the claim "the sum of x = d - r * t is at most 0" multiplies the fortune by
1 + b * x. For x >= -n and c = -b * n > -1 the log of this factor is at least

    b * x - (c - log(1 + c)) / c^2 * (b * x)^2,

so the sums of d and t, of their products, and the largest loss n so far suffice: lemma 4.1 of Fan, Grama and Liu
(2015), "Exponential inequalities for martingales with applications". Its factor grows from 1/2 at c = 0 to 2.3 at
c = -0.95, and is needed only where x is negative: log(1 + y) >= y - y^2 / 2 for y >= 0, as the derivative of the
difference is y^2 / (1 + y). So only squares of losses cost more than half, where these have a bound of their own.

No cluster is too heavy. The size of a cluster is taken as given and which model blocks it as random, so a bet may
depend on sizes seen so far: bets that the heaviest cluster could bankrupt are discarded. A fortune that is thrown away
is a loss, never a gain; so the promised error holds for any distribution of sizes. What heavy clusters cost is time.

Where the base speaks for the bet, it counts only up to a bound (`held`), as a smaller payoff creates no evidence. So
one huge cluster that changes nothing takes no evidence away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shadow.statistics.eprocess import BETS, STAKES, Array, Interval, mixed, search

Ints = npt.NDArray[np.int64]

#: Smaller bets for clusters of up to a million units, and larger ones for clusters far below one: steps of 2.2.
SMALLER, LARGER = BETS[0] / 2.2 ** np.arange(1, 14), BETS[-1] * 2.2 ** np.arange(1, 6)
#: The n-th smaller bet has a part of the stake in proportion to 1 / (n * (n + 1)): clusters of thirty units are common
#: in whole money, those of thousands are not.
_FALLING = 1 / (np.arange(1, 14) * np.arange(2, 15))
BET_SIZES = np.concatenate([BETS, SMALLER, LARGER])
BET_STAKES = np.concatenate([0.55 * STAKES, 0.3 * _FALLING / _FALLING.sum(), np.full(len(LARGER), 0.15 / len(LARGER))])
_SUMS = ("net", "base", "held", "net_net", "net_base", "base_base", "net_held", "held_held", "fallen", "risen")
_TOPS = ("gain", "loss", "most")
#: Largest share of the fortune that the heaviest cluster may take.
_RISK = 0.95


@dataclass(frozen=True, slots=True)
class ClusterRatio:
    """The ratio of net change to base over clusters, such as additional blocks as a share of live's blocks.

    net, base: sums of the net change and of the base. held: sums of the base of each cluster, up to a bound. net_net
    and so on: sums of products. fallen, risen: sums of squares of what lowers the net, and of what raises it; a cluster
    may have both, and its base is at least what lowers its net. gain, loss, most: no cluster has a larger net, a
    smaller one than -loss, or a larger base; infinite where that is unknown, and then there is no evidence. All of one
    shape. unit: what the largest bets are for clusters of. bound: that of `held`.
    """

    net: Array
    base: Array
    held: Array
    net_net: Array
    net_base: Array
    base_base: Array
    net_held: Array
    held_held: Array
    fallen: Array
    risen: Array
    gain: Array
    loss: Array
    most: Array
    unit: float = 1.0
    bound: float = math.inf

    @property
    def estimate(self) -> Array:
        """The ratio of the sums, NaN where the base is 0."""
        net, base = (np.asarray(part, dtype=float) for part in (self.net, self.base))
        return np.asarray(np.divide(net, base, out=np.full(base.shape, np.nan), where=base > 0))

    def log_above(self, share: Array | float) -> Array:
        """Log evidence that the ratio is above `share`."""
        return self._log(1, share)

    def log_below(self, share: Array | float) -> Array:
        """Log evidence that the ratio is below `share`."""
        return self._log(-1, share)

    def _log(self, sign: int, share: Array | float) -> Array:
        each = -sign * np.asarray(share, dtype=float)  # what a unit of base adds to the payoff
        helps = each >= 0

        def either(helping: Array, whole: Array) -> Array:
            return np.where(helps, helping, whole)

        total = sign * self.net + each * either(self.held, self.base)
        square = self.net_net + 2 * sign * each * either(self.net_held, self.net_base)
        square = np.maximum(square + each**2 * either(self.held_held, self.base_base), 0.0)
        is_known = np.isfinite(self.gain + self.loss + self.most)
        gain, loss, most = (np.where(is_known, top, 0.0) for top in (self.gain, self.loss, self.most))
        if sign > 0:  # live's alone is a part of the base, so its loss is softened by that
            helped = np.maximum(loss - each * np.minimum(loss, self.bound), 0.0)
            worst = np.where(helps, helped, loss - each * most)
            left = np.where(loss <= self.bound, np.clip(1 - each, 0.0, 1.0), 1.0)
            lost = left**2 * self.fallen
        else:
            worst = gain - np.minimum(each, 0.0) * most
            lost = self.risen
        lost = np.where(helps, np.minimum(lost, square), square)  # squares of the payoffs below 0, at most
        worst = np.where(is_known, worst, np.inf)
        bets = BET_SIZES.reshape(-1, *[1] * np.ndim(total)) / (self.unit * (1 + np.maximum(-each, 0.0)))
        risk = bets * worst
        lives = risk <= _RISK
        c = -np.where(lives, np.maximum(risk, 1e-6), 0.5)
        factor = np.maximum((c - np.log1p(c)) / c**2, 0.5)
        wins = np.where(lives, bets * total - bets**2 * (square / 2 + (factor - 0.5) * lost), -np.inf)
        return mixed(wins, BET_STAKES)

    def of(self, segments: Ints) -> ClusterRatio:
        """Some positions of the last axis."""
        return replace(self, **{name: getattr(self, name)[..., segments] for name in (*_SUMS, *_TOPS)})

    def times(self, factor: Array | float) -> ClusterRatio:
        """The ratio as if `factor` times as much had been seen, with clusters no heavier than so far."""
        return replace(self, **{name: getattr(self, name) * factor for name in _SUMS})

    def bounds(self, alpha: float, lowest: float, highest: float) -> Interval:
        """The confidence sequence: see `Ratio.bounds`."""
        return search(self, alpha, lowest, highest)


@dataclass(frozen=True, slots=True)
class KindRatio:
    """The ratio of two sums over clusters of k kinds, such as card-days that both, one or the other model blocks.

    above, below: float64 (k,), what a cluster of each kind adds to the numerator and to the denominator. counts:
    (..., k), clusters of each kind. The logs of payoffs are added up exactly: see `shadow.statistics.eprocess`.
    """

    above: Array
    below: Array
    counts: Array

    @property
    def estimate(self) -> Array:
        """The ratio of the sums, NaN where the denominator is 0."""
        top, bottom = (np.asarray(self.counts @ side, dtype=float) for side in (self.above, self.below))
        return np.asarray(np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0))

    def log_above(self, share: Array | float) -> Array:
        """Log evidence that the ratio is above `share`."""
        return self._log(1, share)

    def log_below(self, share: Array | float) -> Array:
        """Log evidence that the ratio is below `share`."""
        return self._log(-1, share)

    def _log(self, sign: int, share: Array | float) -> Array:
        values = sign * (self.above - np.asarray(share, dtype=float)[..., None] * self.below)
        worst = np.maximum(-values.min(axis=-1, keepdims=True), 1e-9)
        # axes: bets, those of the looks and segments that share has, kinds
        payoffs = np.log1p(BETS.reshape(-1, *[1] * values.ndim) / worst * values)
        missing = max(0, self.counts.ndim - values.ndim)
        payoffs = payoffs.reshape(len(BETS), *[1] * missing, *values.shape)
        return mixed(np.einsum("...k,...k->...", payoffs, self.counts), STAKES)

    def of(self, segments: Ints) -> KindRatio:
        """Some positions of the last axis but that of the kinds."""
        return replace(self, counts=self.counts[..., segments, :])

    def times(self, factor: Array | float) -> KindRatio:
        """The ratio as if `factor` times as much had been seen."""
        return replace(self, counts=self.counts * np.asarray(factor, dtype=float)[..., None])

    def bounds(self, alpha: float, lowest: float, highest: float) -> Interval:
        """The confidence sequence: see `Ratio.bounds`."""
        return search(self, alpha, lowest, highest)
