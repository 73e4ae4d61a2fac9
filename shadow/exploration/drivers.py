"""Which features drive all differences of a question: the contributions of its samples, added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shadow.exploration.estimate import total
from shadow.exploration.table import Rows, Table


@dataclass(frozen=True, slots=True)
class Driver:
    """A feature, over the transactions that samples stand for, in log-odds of the score.

    share: of all that explanations add up to, sizes only. mean: what it adds to the candidate's score beyond live's, on
    average over all of them; error: its standard error. first: share of them in which it makes the largest difference.
    """

    feature: str
    share: float
    mean: float
    error: float
    first: float
    samples: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "feature": self.feature,
            "share": round(self.share, 4),
            "mean_difference": round(self.mean, 5),
            "error": round(self.error, 5),
            "largest_in": round(self.first, 4),
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True)
class Drivers:
    """The features in order of their share. explained, samples: how many samples have an explanation, of how many."""

    features: tuple[Driver, ...]
    explained: int
    samples: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        told = [one.to_json() for one in self.features]
        return {"features": told, "explained": self.explained, "samples": self.samples}


def drivers(table: Table, rows: Rows, top: int) -> Drivers:
    """The features that drive the differences of some samples. An explanation holds the largest few differences of its
    sample; what is not in it counts as none."""
    mine = rows[table.columns.is_explained[rows] & (table.columns.reasons[rows, 0] >= 0)]
    names = list(table.words.features)
    if not len(mine):
        return Drivers((), 0, len(rows))
    reasons, differences = table.columns.reasons[mine], table.columns.differences[mine].astype(np.float64)
    weights = 1 / table.chances[mine]
    has, beside = reasons >= 0, np.broadcast_to(weights[:, None], reasons.shape)
    n, all_weight = len(names), float(weights.sum())
    sizes = np.bincount(reasons[has], (np.abs(differences) * beside)[has], n)
    samples = np.bincount(reasons[has], minlength=n)
    first = np.bincount(reasons[:, 0], weights, n)
    found = []
    for at in np.argsort(-sizes, kind="stable")[:top].tolist():
        if not samples[at]:
            break
        values = np.where(reasons == at, differences, 0.0).sum(axis=1)
        mean = float((values * weights).sum()) / all_weight
        _, error = total(values - mean, table.chances[mine])  # of a ratio, to first order
        found.append(
            Driver(
                names[at],
                float(sizes[at] / sizes.sum()) if sizes.sum() else 0.0,
                mean,
                error / all_weight,
                float(first[at]) / all_weight,
                int(samples[at]),
            )
        )
    return Drivers(tuple(found), len(mine), len(rows))
