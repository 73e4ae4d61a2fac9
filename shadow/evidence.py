"""Intervals that stay valid however often somebody looks.

A fixed-sample interval that is looked at every hour is wrong sooner or later: McNemar's test, looked at daily for four
weeks, raised false alarms in one release of five. A confidence sequence holds at all times at once.

Everything is a share of live's blocks, so that one limit means the same at any block rate. Such a share is a ratio of
two sums that both grow; taking live's blocks for a constant was wrong in up to a quarter of simulated runs where a
twentieth was promised, so the ratio gets an interval of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shadow.tally import SegmentTotals


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds that hold at all times with the confidence asked for."""

    estimate: float
    low: float
    high: float

    def minus(self, other: Interval) -> Interval:
        """The difference; it holds with the sum of both error rates."""
        return Interval(self.estimate - other.estimate, self.low - other.high, self.high - other.low)

    def negated(self) -> Interval:
        """The same seen from the other side."""
        return Interval(-self.estimate, -self.high, -self.low)


def squared_width(n: int, alpha: float, tuned_for: int) -> float:
    """How far a sum of n independent values of mean 0 may stray, squared, in units of their sum of squares.

    The sum leaves the band of its square root at any n at all, ever, with chance `alpha`, for large n. A test that is
    looked at once would have the squared normal quantile here. n and tuned_for are above 0; the band is tightest at
    n = tuned_for. Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), "Time-uniform central limit theory
    and asymptotic confidence sequences", theorem 2.2, and its rho for the tightest point.
    """
    spend = -2 * math.log(alpha)
    rho2 = (spend + math.log(spend + 1)) / tuned_for
    grown = n * rho2 + 1
    return 2 * grown / (n * rho2) * math.log(math.sqrt(grown) / alpha)


def design_effect(part: SegmentTotals) -> float:
    """By how much clustered cards inflate a variance: discordant transactions for each discordant card and day, >= 1.

    Transactions of a card on a day are not independent; one pair per card and day is what they are worth. Source: Kish
    (1965), "Survey sampling", the design effect of equal clusters that agree wholly.
    """
    pairs = int(part.pairs.sum())
    return max(1.0, int(part.counts[2:].sum()) / pairs) if pairs else 1.0


def block_shift(part: SegmentTotals, alpha: float, tuned_for: int) -> Interval | None:
    """Change of the block rate, candidate minus live, as a share of live's blocks; None where live blocked too little.

    -0.3 means that the candidate blocks 30 % less.
    """
    return _share_of_blocks(part, -1, alpha, tuned_for)


def disagreement(part: SegmentTotals, alpha: float, tuned_for: int) -> Interval | None:
    """Disagreements as a share of live's blocks, above 1 where they outnumber them; None as in `block_shift`."""
    return _share_of_blocks(part, 1, alpha, tuned_for)


def excess_disagreement(
    candidate: SegmentTotals, control: SegmentTotals, alpha: float, tuned_for: int
) -> Interval | None:
    """Disagreement beyond that of the A/A control, each as a share of live's blocks; None as in `block_shift`.

    Each of the two spends half of `alpha`.
    """
    ours = disagreement(candidate, alpha / 2, tuned_for)
    floor = disagreement(control, alpha / 2, tuned_for)
    return None if ours is None or floor is None else ours.minus(floor)


def live_blocks(part: SegmentTotals) -> int:
    """Transactions that live blocked."""
    return int(part.counts[1] + part.counts[2])


def _share_of_blocks(part: SegmentTotals, live_only: int, alpha: float, tuned_for: int) -> Interval | None:
    """The mean of x over the mean of y, where y is 1 for a block of live and x is 1 for a block of the candidate alone,
    `live_only` for one of live alone, else 0.

    A ratio r is in the interval if the values x - r*y, whose mean is 0 if r is true, do not add up to more than their
    band allows: (X - r*Y)^2 <= k * sum of (x - r*y)^2, a quadratic in r. None where no r is excluded, which is at about
    20 live blocks and fewer. One more disagreement than was seen is granted, so that none at all is no certainty.
    Source: Fieller (1954), "Some problems in interval estimation", with the band of `squared_width`.
    """
    n, blocks = part.compared, live_blocks(part)
    if not n:
        return None
    lost, added = int(part.counts[2]), int(part.counts[3])
    total = live_only * lost + added
    k = design_effect(part) * squared_width(n, alpha, tuned_for)
    if blocks <= k:
        return None
    a = blocks * blocks - k * blocks
    b = total * blocks - k * live_only * lost
    c = total * total - k * (lost + added + 1)
    half = math.sqrt(max(0.0, b * b - a * c))
    return Interval(total / blocks, (b - half) / a, (b + half) / a)
