"""Estimates of a whole stream from its samples, with their error.

A sample stands for 1 / p transactions, where p is the probability with which it was kept (Horvitz and Thompson 1952).
In bottom-k samples, p is taken given the hashes of all others; then the estimates are unbiased, and those of different
transactions uncorrelated, so the variance is the sum of (1 - p) / p^2 over the samples. Source: Cohen and Kaplan
(2007), "Summarizing data using bottom-k sketches", rank conditioning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: Normal quantile of a 95 % interval.
Z = 1.959964
#: With fewer samples than this an estimate is told to be thin.
THIN = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number of transactions of the whole stream. samples: on which it rests. error: its standard error.

    low, high: the 95 % interval.
    """

    value: float
    error: float
    low: float
    high: float
    samples: int

    @property
    def is_thin(self) -> bool:
        """Whether it rests on so few samples that its interval is rough, too."""
        return 0 < self.samples < THIN and self.error > 0

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "value": round(self.value, 3),
            "error": round(self.error, 3),
            "low": round(self.low, 3),
            "high": round(self.high, 3),
            "samples": self.samples,
        }


def estimate(value: float, variance: float, samples: int) -> Estimate:
    """An estimate with its interval. At least the samples themselves are there, and of the rest the logarithm is taken
    to be normal, as of a number that cannot be negative. Source: Chao (1987), Biometrics 43.

    >>> estimate(5.0, 0.0, 5).high
    5.0
    """
    error, unseen = math.sqrt(variance), value - samples
    if error == 0 or unseen <= 0:
        return Estimate(value, error, value, value, samples)
    wide = math.exp(Z * math.sqrt(math.log1p(variance / unseen**2)))
    return Estimate(value, error, samples + unseen / wide, samples + unseen * wide, samples)


def count(chances: Floats) -> Estimate:
    """The transactions that samples stand for. chances: float64 (n,), with which each was kept, over 0.

    >>> count(np.array([0.5, 0.5])).value
    4.0
    """
    return estimate(float((1 / chances).sum()), float(((1 - chances) / chances**2).sum()), len(chances))


def total(values: Floats, chances: Floats) -> tuple[float, float]:
    """The sum of values over the whole stream, and its standard error. values: float64 (n,), of the samples."""
    variance = float((values**2 * (1 - chances) / chances**2).sum())
    return float((values / chances).sum()), math.sqrt(variance)
