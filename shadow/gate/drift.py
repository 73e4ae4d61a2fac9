"""Drift: compares scores and features of two windows, with limits computed from the counts.

A fixed limit such as "PSI above 0.2" ignores the sizes of the windows: without drift the index is distributed as
(1/n + 1/m) times a chi-squared variable. Nor are transactions independent: those of one card resemble each other, and
days differ. Therefore:

1. Both windows hold the same weekdays: each recent day is compared with the same weekday of the reference.
2. Bins are merged until each holds enough values; the tail of high values, where thresholds lie, stays separate.
3. Clustering is measured, not assumed. The topic is keyed by card, so partitions are random groups of cards. How much
   the change varies between partitions measures the effect of cards; between days, that of days. The larger counts.
4. The limit of the PSI is a quantile of its distribution without drift, given the above. Everything that is examined
   together shares one error probability. The two-sample test is the chi-squared test of homogeneity with the correction
   of Rao and Scott.

Drift means that the traffic has changed, not that a candidate is worse: it informs and rejects nothing.

Sources: Yurdakul and Naranjo (2020), "Statistical properties of the population stability index"; Rao and Scott (1984),
"On chi-squared tests for multiway contingency tables with cell proportions estimated from survey data"; random groups:
Wolter (2007), "Introduction to variance estimation", chapter 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # which loads `special` where it is first used

from shadow.comparison.bins import ALLOWED, BLOCKED, BY_VALUE, LIVE, Counts
from shadow.statistics.distance import drift_bounds
from shadow.statistics.eprocess import Array

#: Values that a merged bin must be expected to hold in the smaller window.
LEAST = 30
#: Quantiles of both windows together at which bins are cut: deciles and the upper tail.
CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
#: Groups of cards or days needed to measure their variation, and values that each needs in either window.
GROUPS, GROUP_LEAST = 3, 30
WEEK = 7
#: Drifted scores and features that one line names.
TOLD = 5


@dataclass(frozen=True, slots=True)
class Windows:
    """Event days of both windows, since 1970. The n-th days of both have the same weekday."""

    reference: tuple[int, ...]
    recent: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drift:
    """How much one score or feature has changed.

    what: `score: candidate`, `score: live`, or `feature: <name>`. reference, recent: number of values. psi: the
    population stability index. limit: exceeded without drift with the given probability; None where it cannot be
    computed (a single value, or too few groups to measure the clustering). p: of the two-sample test. clustering:
    counted values that are worth one independent value. distance: between the distribution functions of the calibration
    window and of all that followed it, with bounds `low` and `high` that hold at all times; for scores only.
    """

    what: str
    reference: int
    recent: int
    psi: float
    limit: float | None
    p: float | None
    clustering: float | None
    distance: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def has_drifted(self) -> bool:
        """Whether the index exceeds its limit."""
        return self.limit is not None and self.psi > self.limit


@dataclass(frozen=True, slots=True)
class DriftLook:
    """The drift of all scores and features. missing: why there are no windows to compare, for people; else empty."""

    windows: Windows | None
    rows: tuple[Drift, ...] = ()
    missing: str = ""

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of what exceeds its limit, the largest excess first."""
        over = [row for row in self.rows if row.has_drifted]
        return tuple(row.what for row in sorted(over, key=lambda row: -row.psi / (row.limit or 1)))

    @property
    def told(self) -> str:
        """A line for people."""
        if self.windows is None:
            return f"drift: not known yet; {self.missing}"
        judged = [row for row in self.rows if row.limit is not None]
        days = len(self.windows.recent)
        against = f"over {days} event day{'s' if days > 1 else ''} against the same weekdays of the calibration window"
        if not judged:
            return f"drift: cannot be distinguished from chance {against}"
        by_what = {row.what: row for row in self.rows}
        over = [f"{what} (PSI {by_what[what].psi:.3g}, limit {by_what[what].limit:.3g})" for what in self.drifted]
        more = f" and {len(over) - TOLD} more" if len(over) > TOLD else ""
        found = f"{', '.join(over[:TOLD])}{more}; drift decides nothing" if over else "none"
        unknown = len(self.rows) - len(judged)
        left = f", {unknown} more without a known limit" if unknown else ""
        return f"drift: {found}; {len(judged)} distributions compared {against}{left}"


def windows(days: Sequence[int], reference: Sequence[int]) -> Windows | None:
    """Pair the newest week after the reference days with the same weekdays of them; None while there is no such day.

    days: event days with a comparison; the last one may be incomplete and is left out. If the reference has a weekday
    twice, its first day is taken.
    """
    first_of = {day % WEEK: day for day in sorted(reference, reverse=True)}
    complete = sorted(set(days))[:-1]
    later = [day for day in complete if reference and day > max(reference) and day % WEEK in first_of]
    recent = [day for day in later if day > later[-1] - WEEK]
    return Windows(tuple(first_of[day % WEEK] for day in recent), tuple(recent)) if recent else None


def merged(counts: Counts, apart: int = 0) -> Counts:
    """Merge adjacent bins until each holds enough: (..., k) of (..., bins), in order.

    counts: int64 (2, ..., bins), one window after the other. apart: number of first bins that stay separate if they
    hold enough, such as that of missing values.
    """
    flat = counts.reshape(2, -1, counts.shape[-1]).sum(axis=1)
    both, sizes = flat.sum(axis=0), flat.sum(axis=1)
    total = both.sum()
    if not sizes.min():
        return np.asarray(counts.sum(axis=-1, keepdims=True))
    least = LEAST * total / sizes.min()
    inside = np.cumsum(both[apart:])
    wanted = np.searchsorted(inside, np.array(CUTS) * inside[-1], side="left") + apart + 1
    starts = [0]
    for start in sorted({*range(1, apart + 1), *wanted.tolist()}):
        if start < len(both) and both[starts[-1] : start].sum() >= least:
            starts.append(start)
    while len(starts) > 1 and both[starts[-1] :].sum() < least:
        starts.pop()
    return np.asarray(np.add.reduceat(counts, starts, axis=-1))


def psi(reference: Array, recent: Array) -> float:
    """The population stability index of two samples, from counts of bins: the sum of (q - p) * log(q / p).

    Half a value is added to each bin, so that an empty one does not make it infinite.

    >>> psi(np.array([50.0, 50.0]), np.array([50.0, 50.0]))
    0.0
    """
    p, q = ((part + 0.5) / (part + 0.5).sum() for part in (reference, recent))
    return float(((q - p) * np.log(q / p)).sum())


def clustering(counts: Array) -> float | None:
    """How many times more the change between the windows varies between groups than chance explains.

    counts: (2, groups, bins). About 1 if values are independent. None where too few groups hold enough values.
    """
    sizes = counts.sum(axis=-1)
    has = (sizes >= GROUP_LEAST).all(axis=0)
    groups, k = int(has.sum()), counts.shape[-1]
    if groups < GROUPS or k < 2:
        return None
    kept, n = counts[:, has], sizes[:, has]
    pooled = kept.sum(axis=(0, 1)) / n.sum()
    change = kept[1] / n[1][:, None] - kept[0] / n[0][:, None]
    whole = kept[1].sum(axis=0) / n[1].sum() - kept[0].sum(axis=0) / n[0].sum()
    each = ((change - whole) ** 2 / pooled).sum(axis=-1) / (1 / n[0] + 1 / n[1])
    return float(each.sum() / ((groups - 1) * (k - 1)))


def compare(what: str, counts: Counts, alpha: float, apart: int = 0) -> Drift:
    """Compare one score or feature in both windows.

    counts: int64 (2, partitions, days, bins), bins in order. alpha: error probability of its limit. apart: see
    `merged`. With k bins and g groups, the corrected statistic is compared with an F distribution of (k - 1) / 2 and
    (g - 1) * (k - 1) / 2 degrees of freedom, half the usual numbers: clusters move bins together, so these count for
    less (the second-order correction of Rao and Scott, taken as one half).
    """
    bins = merged(counts, apart).astype(np.float64)
    k = bins.shape[-1]
    first, second = bins.sum(axis=(1, 2))
    n, m = float(first.sum()), float(second.sum())
    index = psi(first, second)
    by_cards, by_days = clustering(bins.sum(axis=2)), clustering(bins.sum(axis=1))
    measured = [(value, groups) for value, groups in ((by_cards, bins.shape[1]), (by_days, bins.shape[2])) if value]
    if k < 2 or not measured:
        return Drift(what, int(n), int(m), index, None, None, None)
    factor, groups = max(measured)
    factor = max(1.0, factor)
    pooled = (first + second) / (n + m)
    change = second / m - first / n
    statistic = float((change**2 / pooled).sum()) / (1 / n + 1 / m)
    top = (k - 1) / 2
    below = top * (groups - 1)
    p = float(scipy.special.fdtrc(top, below, statistic / (k - 1) / factor))
    limit = factor * (1 / n + 1 / m) * (k - 1) * float(scipy.special.fdtri(top, below, 1 - alpha))
    return Drift(what, int(n), int(m), index, limit, p, factor)


def drift_between(
    scores: Counts,
    features: Counts,
    names: Sequence[str],
    within: Windows,
    error: float,
    calibration: Counts,
    following: Counts,
    band_error: float,
) -> DriftLook:
    """Compare scores and features of two windows.

    scores: int64 (2, partitions, days, KINDS, BINS) of all traffic. features: int64 (2, partitions, days, n,
    FEATURE_BINS), in the order of names. error: probability that one evaluation reports any drift when there is none.
    calibration, following: int64 (KINDS, BINS), all scores in and after the calibration window, for the distance of the
    scores. band_error: error probability of each bound of this distance.
    """
    alpha = error / (2 + len(names))
    rows = []
    for what, kinds in (("score: candidate", (ALLOWED, BLOCKED)), ("score: live", (LIVE,))):
        row = compare(what, scores[..., kinds, :].sum(axis=-2), alpha)
        worth = 1 / row.clustering if row.clustering else 1.0
        before, after = (part[list(kinds)].sum(axis=0) for part in (calibration, following))
        found = drift_bounds(before, after, band_error, worth, worth)
        if row.clustering and np.isfinite(found.estimate):
            ends = (float(found.estimate), float(found.low), float(found.high))
            row = Drift(row.what, row.reference, row.recent, row.psi, row.limit, row.p, row.clustering, *ends)
        rows.append(row)
    for at, name in enumerate(names):
        rows.append(compare(f"feature: {name}", features[..., at, :][..., BY_VALUE], alpha, apart=1))
    return DriftLook(within, tuple(rows))
