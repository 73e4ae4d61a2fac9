"""Evidence that stays valid however often somebody looks: e-processes, and the confidence sequences that invert them.

McNemar's test, looked at daily for four weeks, raised false alarms in one release of five. An e-process is the fortune
of somebody who bets against a claim, at fair odds if the claim is true. It exceeds 1 / alpha at any time at all, ever,
with a chance of at most alpha if the claim is true (Ville 1939), so it may be looked at every minute, and the claim is
given up once it does.

Everything here is a ratio of sums, such as "what the candidate blocks more, as a share of what live blocks". A claim on
such a ratio is a claim on a sum: "more - limit * blocks adds up to nothing or less". Bets are of fixed size and mixed,
so that the fortune depends on sums only: not on the order, and not on which hours were looked at. With fixed bets the
claim may be one on the average up to now; single hours or weekdays may deviate from it (see `log_evidence`).

All functions take arrays of any shape and work on each cell: a path of looks costs one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

Array = npt.NDArray[np.float64]

#: Bets that are mixed, in equal parts, as shares of the largest that cannot ruin.
BETS = np.geomspace(0.02, 0.95, 10)
#: Bisections of a bound; each halves its error.
HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds that hold at all times with the confidence asked for; arrays of one shape."""

    estimate: Array
    low: Array
    high: Array


def log_evidence(
    values: Sequence[Array | float], sums: Sequence[Array], squares: Sequence[Array] | None = None
) -> Array:
    """Log of an e-process against the claim that values do not add up to more than nothing.

    There are k kinds of things; one of kind i with weight a, 0 <= a <= 1, counts values[i] * a. sums[i] and squares[i]
    are sums of the weights of each kind, and of their squares; without squares every weight counts as 0 or 1. All of
    one shape, or such that they broadcast.

    A bet b on a thing pays 1 + b * value * a. For b * value = c >= 0 its log is at least a * log(1 + c), as a chord
    lies below a concave curve, and at least c * a - c^2 a^2 / 2; for c < 0 it is at least
    c * a + (log(1 + c) - c) * a^2, so sums are all that is needed, and where weights are 0 or 1 nothing is lost.
    The fortune of one fixed bet is at most a martingale if the conditional means add up to 0 or less, for
    prod(1 + b * m) <= exp(b * sum(m)): the claim may be about the average.
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
            wins = wins + total * even
        else:
            gain = np.maximum(even * total, c * total - c * c / 2 * squares[at])
            wins = wins + np.where(c >= 0, gain, c * total + (even - c) * squares[at])
    most = wins.max(axis=0)
    return np.asarray(most + np.log(np.exp(wins - most).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two sums over the same things, of k kinds.

    above, below: what one thing of each kind with weight 1 adds to the numerator and to the denominator. sums, squares:
    sums of weights (and squares of weights) of each kind, k arrays of one shape, as in `log_evidence`.

    With a ratio of r, the values above - r * below add up to nothing on average: that is the claim which is bet on, so
    the denominator may be as random as the numerator. (Fieller 1954 has the idea, "Some problems in interval
    estimation".)
    """

    above: tuple[Array | float, ...]
    below: tuple[Array | float, ...]
    sums: tuple[Array, ...]
    squares: tuple[Array, ...] | None = None

    @property
    def estimate(self) -> Array:
        """NaN where the denominator is 0."""
        top = sum(a * s for a, s in zip(self.above, self.sums, strict=True))
        bottom = np.asarray(sum(b * s for b, s in zip(self.below, self.sums, strict=True)), dtype=float)
        out: Array = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
        return out

    def _values(self, share: Array | float, sign: int) -> list[Array | float]:
        return [sign * (a - share * b) for a, b in zip(self.above, self.below, strict=True)]

    def log_above(self, share: Array | float) -> Array:
        """Log evidence that the ratio is above a share."""
        return log_evidence(self._values(share, 1), self.sums, self.squares)

    def log_below(self, share: Array | float) -> Array:
        """Log evidence that the ratio is below a share."""
        return log_evidence(self._values(share, -1), self.sums, self.squares)

    def times(self, factor: Array | float) -> Ratio:
        """The same with all sums multiplied: what it would be with so much more of the same."""
        squares = None if self.squares is None else tuple(s * factor for s in self.squares)
        return Ratio(self.above, self.below, tuple(s * factor for s in self.sums), squares)

    def bounds(self, alpha: float, lowest: float, highest: float) -> Interval:
        """The confidence sequence: all shares between lowest and highest that the evidence leaves.

        Each end is wrong, ever, with a chance of at most alpha. lowest, highest: no ratio can be beyond; where there is
        no evidence, the ends are these.
        """
        bar, estimate = -math.log(alpha), self.estimate
        middle = np.clip(np.nan_to_num(estimate, nan=(lowest + highest) / 2), lowest, highest)
        low = _last(self.log_above, np.full(middle.shape, lowest), middle, bar)
        high = _last(self.log_below, np.full(middle.shape, highest), middle, bar)
        return Interval(estimate, low, high)


def _last(evidence: Callable[[Array], Array], out: Array, within: Array, bar: float) -> Array:
    """Between a share far out and one that stands, where the evidence against it falls below the bar."""
    far, near = out, within
    given_up = evidence(far) >= bar
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        falls = evidence(middle) >= bar
        far, near = np.where(falls, middle, far), np.where(falls, near, middle)
    return np.where(given_up, far, out)


def log_unbalanced(live_only: Array | float, candidate_only: Array | float) -> Array:
    """Log evidence that one model blocks alone more often than the other, from discordant pairs.

    The Bayes factor of a share of candidate-only pairs drawn from Beta(1/2, 1/2) against one half. It is McNemar's
    question with an answer that may be looked at all the time. Source: Robbins (1970), "Statistical methods related to
    the law of the iterated logarithm"; the mixture is that of Krichevsky and Trofimov (1981).

    >>> np.round(log_unbalanced(np.array([30, 18]), np.array([5, 17])), 2).tolist()
    [7.89, -2.0]
    """
    live, candidate = np.asarray(live_only, dtype=np.float64), np.asarray(candidate_only, dtype=np.float64)
    mixed = betaln(candidate + 0.5, live + 0.5) - betaln(0.5, 0.5)
    return np.asarray(mixed + (live + candidate) * math.log(2))


def given_up(log_e: Array, weights: Array, alpha: float) -> npt.NDArray[np.bool_]:
    """Which of K claims are given up, each look on its own: bool (..., K).

    log_e: (..., K). weights: (K,), add up to 1. If all claims are true, the chance that any is given up at the first
    look that gives up any is at most alpha; if some are false, the expected share of true ones among those given up
    is. Nothing is assumed about how the claims depend on each other.
    Source: e-BH of Wang and Ramdas (2022), "False discovery rate control with e-values", with weights.
    """
    weighted = log_e + np.log(weights)
    falling = -np.sort(-weighted, axis=-1)
    enough = falling >= -np.log(alpha * np.arange(1, falling.shape[-1] + 1))
    many = np.where(enough, np.arange(1, falling.shape[-1] + 1), 0).max(axis=-1)
    bar = -np.log(alpha * np.maximum(many, 1))
    return np.asarray((weighted >= bar[..., None]) & (many > 0)[..., None])


#: Values from which on the band of `distance_band` holds.
BAND_FROM = 100


def distance_band(n: Array | float, alpha: float) -> Array:
    """How far the distribution function of n values may ever be from that of their source, for all n >= BAND_FROM.

    The greatest distance exceeds this at any n at all, ever, with a chance of at most alpha. n: independent values, or
    as many as a clustered sample is worth. Source: Howard and Ramdas (2022), "Sequential estimation of quantiles with
    applications to A/B testing and best-arm identification", theorem 2 with its constants for A = 0.85; the inequality
    of Dvoretzky, Kiefer and Wolfowitz, made to hold at all times.
    """
    size = np.maximum(np.asarray(n, dtype=np.float64), BAND_FROM)
    band = 0.85 * np.sqrt((np.log(1 + np.log(size / BAND_FROM)) + 0.8 * math.log(1612 / alpha)) / size)
    return np.where(np.asarray(n) < BAND_FROM, 1.0, np.minimum(band, 1.0))


def distance(reference: Array, now: Array) -> Array:
    """The greatest distance between two distribution functions, by counts of bins in order: (...) of (..., bins).

    NaN where one of them is empty. Source: Kolmogorov and Smirnov's, over the edges of the bins.
    """
    cumulated = []
    for counts in (reference, now):
        total = np.sum(counts, axis=-1, dtype=np.float64, keepdims=True)
        sums = np.cumsum(counts, axis=-1, dtype=np.float64)
        cumulated.append(np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0))
    return np.asarray(np.abs(cumulated[0] - cumulated[1]).max(axis=-1))


def drift_bounds(
    reference: Array, now: Array, alpha: float, reference_worth: Array | float = 1.0, now_worth: Array | float = 1.0
) -> Interval:
    """The confidence sequence of `distance` between the sources of a fixed sample and of one that grows.

    reference, now: counts (..., bins). Each end holds at all times but with a chance of at most alpha, half of which
    goes to each sample: the fixed one has the band of Massart (1990), "The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality", the growing one that of `distance_band`. *_worth: independent values for
    each that is counted, at most 1; transactions of one card are not independent. A distance that falls between the
    edges of the bins is not seen.

    >>> found = drift_bounds(np.array([9000.0, 1000.0]), np.array([8000.0, 2000.0]), 0.05)
    >>> bool(0 < found.low < found.estimate < found.high)
    True
    """
    there = np.sum(reference, axis=-1, dtype=np.float64) * reference_worth
    here = np.sum(now, axis=-1, dtype=np.float64) * now_worth
    fixed = np.sqrt(math.log(4 / alpha) / (2 * np.maximum(there, 1)))
    radius = np.where(there > 0, fixed, 1.0) + distance_band(here, alpha / 2)
    estimate = distance(reference, now)
    known = np.nan_to_num(estimate, nan=0.5)
    low, high = np.maximum(known - radius, 0.0), np.minimum(known + radius, 1.0)
    return Interval(estimate, np.where(np.isnan(estimate), 0.0, low), np.where(np.isnan(estimate), 1.0, high))
