"""Intervals that stay valid however often somebody looks.

A fixed-sample interval that is looked at every hour is wrong sooner or later: McNemar's test, looked at daily for four
weeks, raised false alarms in one release of five. A confidence sequence holds at all times at once.
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

    def scaled(self, factor: float) -> Interval:
        """In other units; factor is above 0."""
        return Interval(self.estimate * factor, self.low * factor, self.high * factor)

    def minus(self, other: Interval) -> Interval:
        """The difference; it holds with the sum of both error rates."""
        return Interval(self.estimate - other.estimate, self.low - other.high, self.high - other.low)


def mean_interval(total: float, squares: float, n: int, alpha: float, tuned_for: int) -> Interval:
    """Confidence sequence for the mean of n values with this sum and sum of squares, n above 0.

    tuned_for: the n at which it is tightest. Holds at all n at once with error rate `alpha`, for large n.
    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), "Time-uniform central limit theory and asymptotic
    confidence sequences", theorem 2.2; rho by their equation for the tightest point.
    """
    mean = total / n
    variance = max(squares / n - mean * mean, 1.0 / n)  # never narrower than one value in n
    spend = -2 * math.log(alpha)
    rho2 = (spend + math.log(spend + 1)) / tuned_for
    grown = n * rho2 + 1
    margin = math.sqrt(variance * 2 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / alpha))
    return Interval(mean, mean - margin, mean + margin)


def design_effect(part: SegmentTotals) -> float:
    """By how much clustered cards inflate a variance: discordant transactions for each discordant card and day, >= 1.

    Transactions of a card on a day are not independent; one pair per card and day is what they are worth. Source: Kish
    (1965), "Survey sampling", the design effect of equal clusters that agree wholly.
    """
    pairs = int(part.pairs.sum())
    return max(1.0, int(part.counts[2:].sum()) / pairs) if pairs else 1.0


def block_shift(part: SegmentTotals, alpha: float, tuned_for: int) -> Interval | None:
    """Change of the block rate, candidate minus live, as a share of live's blocks; None without a live block.

    -0.3 means that the candidate blocks 30 % less. The mean paired difference (+1 candidate only, -1 live only, 0 where
    both agree) has a confidence sequence; live's block rate is taken as it was observed.
    """
    n, live = part.compared, live_blocks(part)
    if not n or not live:
        return None
    more, fewer = int(part.counts[3]), int(part.counts[2])
    effect = design_effect(part)
    interval = mean_interval(more - fewer, effect * (more + fewer), n, alpha, tuned_for)
    return interval.scaled(n / live)


def disagreement(part: SegmentTotals, alpha: float, tuned_for: int) -> Interval | None:
    """Disagreements as a share of live's blocks; None without a live block."""
    n, live = part.compared, live_blocks(part)
    if not n or not live:
        return None
    differ = int(part.counts[2:].sum())
    interval = mean_interval(differ, design_effect(part) * differ, n, alpha, tuned_for)
    return interval.scaled(n / live)


def excess_disagreement(
    candidate: SegmentTotals, control: SegmentTotals, alpha: float, tuned_for: int
) -> Interval | None:
    """Disagreement beyond that of the A/A control, each as a share of live's blocks; None without a live block.

    Each of the two spends half of `alpha`.
    """
    ours = disagreement(candidate, alpha / 2, tuned_for)
    floor = disagreement(control, alpha / 2, tuned_for)
    return None if ours is None or floor is None else ours.minus(floor)


def live_blocks(part: SegmentTotals) -> int:
    """Transactions that live blocked."""
    return int(part.counts[1] + part.counts[2])
