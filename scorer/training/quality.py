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
