"""Measures a model on labelled transactions: area under ROC, average precision, rates at a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def measure(scores: Array, labels: Array, threshold: float) -> dict[str, float | int | None]:
    """Counts, block rate, recall, average precision and area under ROC; None for those that are undefined.

    scores: float64 (n,). labels: (n,), 1 is fraud. threshold: a score equal to it blocks.
    """
    blocks = scores >= threshold
    frauds = int(labels.sum())
    return {
        "transactions": len(labels),
        "frauds": frauds,
        "block_rate": float(blocks.mean()),
        "recall": float(blocks[labels == 1].mean()) if frauds else None,
        "average_precision": average_precision(scores, labels),
        "roc_auc": roc_auc(scores, labels),
    }


def average_precision(scores: Array, labels: Array) -> float | None:
    """Mean precision at the rank of each fraud, tied scores taken together; None without a fraud.

    scores: float64 (n,). labels: (n,), 1 is fraud.

    Source: sum over distinct thresholds of (recall gained) x precision, as in Manning et al. (2008), "Introduction to
    Information Retrieval", chapter 8, without interpolation.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
    0.8333333333333333
    """
    if not labels.sum():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / labels.sum())


def roc_auc(scores: Array, labels: Array) -> float | None:
    """Probability that a fraud scores higher than a legitimate transaction, ties counting half; None without either.

    scores: float64 (n,). labels: (n,), 1 is fraud.

    Source: the Mann-Whitney U statistic, as in Hanley and McNeil (1982).

    >>> roc_auc(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
    0.5
    """
    positive = int(labels.sum())
    negative = len(labels) - positive
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


#: Standard normal quantile of an interval that holds the value in 95 of 100 cases.
Z = 1.959963984540054


def intervals(measures: dict[str, float | int | None]) -> dict[str, list[float]]:
    """95 % intervals of what `measure` found, by the name of the measure; those that are undefined are left out.

    Sources: Wilson (1927) for shares; Hanley and McNeil (1982) for the area under ROC; Boyd, Eng and Page (2013), "Area
    under the precision-recall curve", for average precision, on the scale of log-odds.
    """
    n, frauds = int(measures["transactions"] or 0), int(measures["frauds"] or 0)
    found: dict[str, list[float]] = {}
    for name, of in (("block_rate", n), ("recall", frauds)):
        share = measures[name]
        if share is not None and of:
            found[name] = _wilson(float(share), of)
    precision, area = measures["average_precision"], measures["roc_auc"]
    if precision is not None and 0 < precision < 1:
        center, half = np.log(precision / (1 - precision)), Z / np.sqrt(frauds * precision * (1 - precision))
        found["average_precision"] = [float(1 / (1 + np.exp(-(center + side * half)))) for side in (-1, 1)]
    if area is not None:
        half = Z * _area_error(float(area), frauds, n - frauds)
        found["roc_auc"] = [max(0.0, float(area) - half), min(1.0, float(area) + half)]
    return found


def _wilson(share: float, n: int) -> list[float]:
    center, spread = share + Z * Z / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return [max(0.0, float((center - spread) / scale)), min(1.0, float((center + spread) / scale))]


def _area_error(area: float, positive: int, negative: int) -> float:
    above, below = area / (2 - area), 2 * area * area / (1 + area)
    variance = (area * (1 - area) + (positive - 1) * (above - area * area) + (negative - 1) * (below - area * area)) / (
        positive * negative
    )
    return float(np.sqrt(max(0.0, variance)))
