"""Evidence that stays valid however often it is evaluated: e-processes, and the confidence sequences they give.

A fixed test evaluated again and again raises false alarms: McNemar's, daily for four weeks, did so in one release of
five. An e-process is the fortune of somebody who bets against a claim, at odds that are fair if the claim is true. If
it is, the fortune reaches 1 / alpha at any time with probability at most alpha (Ville 1939). So it may be evaluated
every minute, and the claim is rejected once the fortune reaches 1 / alpha.

Every quantity here is a ratio of sums, such as "additional blocks of the candidate, as a share of live's blocks". A
claim about the ratio is a claim about a sum: "additional blocks - limit * live's blocks is at most 0". Bets of fixed
sizes are mixed, so the fortune depends on sums only, neither on their order nor on when it is evaluated. The claim is
about the average so far; single hours or weekdays may deviate from it (see `log_evidence`).

All functions work elementwise on arrays of any shape: a whole path of looks takes one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy  # which loads `special` where it is first used

Array = npt.NDArray[np.float64]

#: Sizes of the bets, as shares of the largest bet that cannot lose everything, and the part of the fortune on each.
#: The best bet is about the distance of the truth from the limit, divided by the share of things that are not agreed
#: on: for limits of 5 to 25 % and models that disagree on 10 to 30 %, that is 0.2 to 0.8, so most of the fortune is
#: there. The parts are fixed beforehand, so the error is the same whatever they are.
BETS = np.array([0.03, 0.06, 0.12, 0.24, 0.42, 0.66, 0.93])
STAKES = np.array([3, 5, 8, 13, 16, 13, 6]) / 64
#: Bisection steps of a bound; each halves its error.
HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and bounds that hold at all times with the confidence asked for. Arrays of one shape."""

    estimate: Array
    low: Array
    high: Array


def log_evidence(
    values: Sequence[Array | float], sums: Sequence[Array], squares: Sequence[Array] | None = None
) -> Array:
    """Log of an e-process against the claim that the sum of all values is at most 0.

    There are k kinds of things. One of kind i with a weight a, 0 <= a <= 1, adds values[i] * a. sums[i] and squares[i]
    are the sums of weights and of squared weights of kind i, all shapes broadcasting together. squares: None if every
    weight is 0 or 1.

    A bet b on a thing multiplies the fortune by 1 + b * value * a. With c = b * value, the log of this factor is at
    least a * log(1 + c) for c >= 0, since a chord lies below a concave curve, and at least c * a - c^2 a^2 / 2; for
    c < 0 it is at least c * a + (log(1 + c) - c) * a^2. So sums suffice, and with weights of 0 and 1 the bounds are
    exact. If the conditional means m sum to at most 0, the fortune of a fixed bet is bounded by a martingale, because
    prod(1 + b * m) <= exp(b * sum(m)): hence the claim may be about the average.
    Sources: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting"; the bound for
    c < 0 is lemma 4.1 of Fan, Grama and Liu (2015), "Exponential inequalities for martingales with applications".

    >>> bool(log_evidence([1, -1], [np.array(40.0), np.array(10.0)]) > math.log(200))
    True
    """
    worst = np.maximum(np.max(np.broadcast_arrays(*[-np.asarray(v, dtype=float) for v in values]), axis=0), 1e-9)
    axes = max(worst.ndim, *(np.ndim(total) for total in sums))
    bets = BETS.reshape(-1, *[1] * axes) / worst
    wins: Array = np.zeros((1,) * (axes + 1))
    for at, (value, total) in enumerate(zip(values, sums, strict=True)):
        c = bets * value
        even = np.log1p(c)
        if squares is None:
            won = total * even
        elif (is_gain := c >= 0).all():  # as for nearly every value: the other half would be worked out for nothing
            won = np.maximum(even * total, c * total - c * c / 2 * squares[at])
        elif not is_gain.any():
            won = c * total + (even - c) * squares[at]
        else:
            gain = np.maximum(even * total, c * total - c * c / 2 * squares[at])
            won = np.where(is_gain, gain, c * total + (even - c) * squares[at])
        # paths of looks are large: where it fits, the sum takes the place of a part of it
        wins = np.add(wins, won, out=won if won.shape == np.broadcast_shapes(wins.shape, won.shape) else None)
    return mixed(wins, STAKES)


def mixed(wins: Array, stakes: Array) -> Array:
    """Log of the fortune of all bets together. wins: logs of what each has made of 1, along the first axis; -inf for a
    fortune that was thrown away."""
    most = wins.max(axis=0)
    most = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        ratios = wins - most
        return np.asarray(most + np.log(np.tensordot(stakes, np.exp(ratios, out=ratios), axes=1)))


def log_smaller(part: Array, rest: Array, share: float, aim: float) -> Array:
    """Log evidence that a part is less than `share` of the whole, by a single bet: of one who thinks that it is `aim`
    times that.

    part, rest: things that are in the part, and those that are not. Each multiplies the fortune by the ratio of its
    probabilities under `aim * share` and `share`: the likelihood ratio of Wald (1945), "Sequential tests of statistical
    hypotheses". That is the bet (1 - aim) / (1 - share) on the payoff share - 1 of a thing in the part and share of any
    other, so the claim may be about an average, as in `log_evidence`. A mixture of bets would cost more than the
    evidence that a mild error asks for. Nothing is shown where share is 0.

    >>> bool(log_smaller(np.array(10.0), np.array(2800.0), 0.01, 0.6) > math.log(20))
    True
    """
    if share <= 0:
        return np.full(np.broadcast_shapes(np.shape(part), np.shape(rest)), -np.inf)
    return np.asarray(part * math.log(aim) + rest * math.log((1 - aim * share) / (1 - share)))


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two sums over the same things, of k kinds.

    above, below: what one thing of each kind with weight 1 adds to the numerator and to the denominator. sums, squares:
    sums of weights and of squared weights of each kind, k arrays of one shape, as in `log_evidence`.

    If the ratio is r, the values above - r * below are 0 on average. Bets are on this claim, so the denominator may be
    as random as the numerator. Source: the idea of Fieller (1954), "Some problems in interval estimation".
    """

    above: tuple[Array | float, ...]
    below: tuple[Array | float, ...]
    sums: tuple[Array, ...]
    squares: tuple[Array, ...] | None = None

    @property
    def estimate(self) -> Array:
        """The ratio of the sums, NaN where the denominator is 0."""
        top = sum(a * s for a, s in zip(self.above, self.sums, strict=True))
        bottom = np.asarray(sum(b * s for b, s in zip(self.below, self.sums, strict=True)), dtype=float)
        out: Array = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
        return out

    def _values(self, share: Array | float, sign: int) -> list[Array | float]:
        return [sign * (a - share * b) for a, b in zip(self.above, self.below, strict=True)]

    def log_above(self, share: Array | float) -> Array:
        """Log evidence that the ratio is above `share`."""
        return log_evidence(self._values(share, 1), self.sums, self.squares)

    def log_below(self, share: Array | float) -> Array:
        """Log evidence that the ratio is below `share`."""
        return log_evidence(self._values(share, -1), self.sums, self.squares)

    def times(self, factor: Array | float) -> Ratio:
        """The ratio with all sums multiplied, as if `factor` times as much had been seen."""
        squares = None if self.squares is None else tuple(s * factor for s in self.squares)
        return Ratio(self.above, self.below, tuple(s * factor for s in self.sums), squares)

    def bounds(self, alpha: float, lowest: float, highest: float) -> Interval:
        """The confidence sequence: the shares from lowest to highest that the evidence does not exclude.

        Each end is wrong, at any time, with probability at most alpha. lowest, highest: limits of the search, and the
        ends where there is no evidence.
        """
        return search(self, alpha, lowest, highest)


class Evidence(Protocol):
    """Evidence on both sides of any value of a ratio."""

    @property
    def estimate(self) -> Array: ...
    def log_above(self, share: Array) -> Array: ...
    def log_below(self, share: Array) -> Array: ...


def search(ratio: Evidence, alpha: float, lowest: float, highest: float) -> Interval:
    """The shares from lowest to highest that the evidence does not exclude; see `Ratio.bounds`."""
    bar, estimate = -math.log(alpha), ratio.estimate
    middle = np.clip(np.nan_to_num(estimate, nan=(lowest + highest) / 2), lowest, highest)
    low = last(ratio.log_above, np.full(middle.shape, lowest), middle, bar)
    high = last(ratio.log_below, np.full(middle.shape, highest), middle, bar)
    return Interval(estimate, low, high)


def last(evidence: Callable[[Array], Array], out: Array, within: Array, bar: float) -> Array:
    """Bisect for the share, from `out` to `within`, at which the evidence against it falls below the bar."""
    far, near = out, within
    is_beyond = evidence(far) >= bar
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        falls = evidence(middle) >= bar
        far, near = np.where(falls, middle, far), np.where(falls, near, middle)
    return np.where(is_beyond, far, out)


def log_unbalanced(live_only: Array | float, candidate_only: Array | float) -> Array:
    """Log evidence, from discordant pairs, that one model blocks alone more often than the other.

    The Bayes factor of a share of candidate-only pairs drawn from Beta(1/2, 1/2) against one half: McNemar's question,
    answered so that it may be evaluated at any time. Source: Robbins (1970), "Statistical methods related to
    the law of the iterated logarithm"; the mixture is that of Krichevsky and Trofimov (1981).

    >>> np.round(log_unbalanced(np.array([30, 18]), np.array([5, 17])), 2).tolist()
    [7.89, -2.0]
    """
    live, candidate = np.asarray(live_only, dtype=np.float64), np.asarray(candidate_only, dtype=np.float64)
    mixed = scipy.special.betaln(candidate + 0.5, live + 0.5) - scipy.special.betaln(0.5, 0.5)
    return np.asarray(mixed + (live + candidate) * math.log(2))


def rejected(log_e: Array, weights: Array, alpha: float) -> npt.NDArray[np.bool_]:
    """Which of K claims are rejected, at each look separately: bool (..., K).

    log_e: (..., K), log evidence against each claim. weights: (K,), summing to 1. If all claims are true, any is ever
    rejected with probability at most alpha. If some are false, the expected share of true claims among those rejected,
    at the first look that rejects any, is at most alpha. The claims may depend on each other in any way.
    Source: e-BH of Wang and Ramdas (2022), "False discovery rate control with e-values", with weights.
    """
    weighted = log_e + np.log(weights)
    falling = -np.sort(-weighted, axis=-1)
    enough = falling >= -np.log(alpha * np.arange(1, falling.shape[-1] + 1))
    many = np.where(enough, np.arange(1, falling.shape[-1] + 1), 0).max(axis=-1)
    bar = -np.log(alpha * np.maximum(many, 1))
    return np.asarray((weighted >= bar[..., None]) & (many > 0)[..., None])
