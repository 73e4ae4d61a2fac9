"""Bounds on the distance between two distributions that hold at every look."""

from __future__ import annotations

import math

import numpy as np

from shadow.statistics.eprocess import Array, Interval

#: Smallest number of values for which `distance_band` holds.
BAND_FROM = 100


def distance_band(n: Array | float, alpha: float) -> Array:
    """The radius of a confidence band around the distribution function of n values, for all n >= BAND_FROM at once.

    The greatest distance to the distribution function of their source exceeds it, at any n, with probability at most
    alpha. n: independent values, or as many as a clustered sample is worth; below BAND_FROM the radius is 1. Source:
    Howard and Ramdas (2022), "Sequential estimation of quantiles with applications to A/B testing and best-arm
    identification", theorem 2 with its constants for A = 0.85; the inequality of Dvoretzky, Kiefer and Wolfowitz, made
    to hold at all times.
    """
    size = np.maximum(np.asarray(n, dtype=np.float64), BAND_FROM)
    band = 0.85 * np.sqrt((np.log(1 + np.log(size / BAND_FROM)) + 0.8 * math.log(1612 / alpha)) / size)
    return np.where(np.asarray(n) < BAND_FROM, 1.0, np.minimum(band, 1.0))


def distance(reference: Array, now: Array) -> Array:
    """The greatest distance between two distribution functions, from counts of ordered bins: (...) of (..., bins).

    NaN where either sample is empty. Source: the distance of Kolmogorov and Smirnov, at the edges of the bins.
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
    """A confidence sequence for the `distance` between the sources of a fixed and a growing sample.

    reference, now: counts (..., bins). *_worth: independent values that each counted value is worth, at most 1, since
    transactions of one card are not independent. Each end is wrong, at any time, with probability at most alpha. Half
    of it belongs to each sample: the fixed one has the band of Massart (1990), "The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality", the growing one that of `distance_band`. A distance that is greatest inside
    a bin is missed.

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
