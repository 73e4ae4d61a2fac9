"""What several runs of the bench add up to: medians, and ratios with their intervals. No IO.

Runs are taken in turns, one of each contender in a turn, so that a slow minute of the machine slows all of them. So
what is told is the median of the turns' own ratios, and an interval around it: from the lowest to the highest ratio.
That interval covers the true median with a known chance, whatever the distribution (the sign test turned round):
it misses only if all turns lie on one side.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """The median of several turns' ratios, and the lowest and highest of them."""

    median: float
    low: float
    high: float


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Of two contenders in the same turns. Raises ValueError if one has more turns than the other, or none.

    >>> ratio([10.0, 12.0, 9.0], [5.0, 4.0, 6.0])
    Ratio(median=2.0, low=1.5, high=3.0)
    """
    return interval([a / b for a, b in zip(above, below, strict=True)])


def interval(turns: Sequence[float]) -> Ratio:
    """Of what each turn's own ratio is. Raises ValueError if there is none.

    >>> interval([1.2, 1.0, 1.1])
    Ratio(median=1.1, low=1.0, high=1.2)
    """
    if not turns:
        raise ValueError("no turns: measure at least once")
    return Ratio(statistics.median(turns), min(turns), max(turns))


def coverage(turns: int) -> float:
    """The chance that the lowest and highest of so many independent turns enclose the true median.

    >>> coverage(5)
    0.9375
    """
    return 1.0 - 2.0 * 0.5**turns if turns else 0.0


@dataclass(frozen=True)
class Mark:
    """What a contender had done at a moment: seconds, CPU seconds of its process, transactions decided, and bytes
    received from the broker."""

    moment: float
    cpu: float
    decided: int
    received: int


def begin(marks: Sequence[Mark], nothing: int) -> Mark:
    """The last of the marks at which a contender has received nothing of the workload, so none is in flight.

    nothing: bytes that it receives anyhow, while it joins its group.
    Raises ValueError if there is none: it had begun when it was first looked at.
    """
    found = [mark for mark in marks if mark.received <= nothing and not mark.decided]
    if not found:
        raise ValueError("had begun before it was first looked at; look sooner")
    return found[-1]


def between(first: Mark, last: Mark) -> tuple[float, float]:
    """Transactions a second and CPU seconds for 1,000 from mark to mark. As many must be in flight at both, or what
    was taken before the first, and is decided after it, counts as done in no time.

    >>> between(Mark(1.0, 2.0, 0, 0), Mark(3.0, 3.0, 100, 50_000))
    (50.0, 10.0)
    """
    n = last.decided - first.decided
    return n / (last.moment - first.moment), (last.cpu - first.cpu) / n * 1000


def medians(runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(several) for name, several in runs.items()}


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least such a share of all do not exceed.

    >>> quantile([3.0, 1.0, 2.0, 4.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
