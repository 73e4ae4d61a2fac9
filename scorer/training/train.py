"""Trains a bundle on labelled transactions with the scorer's own decoder and features: it sees what serving sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from scorer.bundle import Bundle, Training, create
from scorer.errors import UserError
from scorer.events import Events, Reading, decode
from scorer.features import history, take
from scorer.files import FileChunk
from scorer.view import FeatureView

#: Defaults for rare positives: many small steps, leaves that hold enough rows, a little randomness for the seed.
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_cat_to_onehot": 8,
    "num_iterations": 200,
}
FIXED: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": 2}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class History:
    """Labelled transactions with their snapshots: matrix float64 (n, features of the view), labels int8 (n,),
    known_ms int64 (n,), in order of time."""

    view: FeatureView
    events: Events
    matrix: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    known_ms: npt.NDArray[np.int64]
    fingerprint: str

    def between(self, since_ms: int | None, until_ms: int | None) -> History:
        """What occurred in a range of time, the end exclusive, with snapshots that know what came before, as a scorer's
        do. Raises UserError if nothing did."""
        occurred = self.events.occurred_ms
        rows = np.flatnonzero(
            (occurred >= (occurred.min() if since_ms is None else since_ms))
            & (occurred < (occurred.max() + 1 if until_ms is None else until_ms))
        )
        if not len(rows):
            raise UserError("train: there are no transactions in that time; give another")
        return replace(
            self,
            events=take(self.events, rows),
            matrix=self.matrix[rows],
            labels=self.labels[rows],
            known_ms=self.known_ms[rows],
            fingerprint=hashlib.sha256(f"{self.fingerprint} {since_ms} {until_ms}".encode()).hexdigest(),
        )


def read_history(chunks: Iterable[FileChunk], view: FeatureView, reading: Reading, path: str) -> History:
    """Decode a file as the scorer would and compute every snapshot.

    Raises UserError if the file has no labels or a transaction breaks the contract.
    """
    values: list[bytes] = []
    labels: list[npt.NDArray[np.int8]] = []
    known: list[npt.NDArray[np.int64]] = []
    content = hashlib.sha256()
    for chunk in chunks:
        if chunk.labels is None:
            raise UserError(f"{path}: has no labels; name their field with --label")
        for value in chunk.values:
            content.update(value)
        content.update(chunk.labels.tobytes())
        values += chunk.values
        labels.append(chunk.labels)
        known.append(chunk.known_ms)
    if not values:
        raise UserError(f"{path}: has no transactions in that time")
    # Values are under our names already.
    decoded = decode(values, Reading(reading.money, attributes=view.attributes))
    if decoded.refusals:
        first = decoded.refusals[0]
        raise UserError(
            f"{path}: {len(decoded.refusals)} transactions are refused, first row {first.position}: {first.reason}"
        )
    events = decoded.events
    matrix = history(view, events, reading.money.digits)
    return History(view, events, matrix, np.concatenate(labels), np.concatenate(known), content.hexdigest())


def train(
    data: History,
    features: tuple[str, ...],
    block_rate: float | None,
    threshold: float | None,
    calibration_share: float,
    parameters: dict[str, Any],
    seed: int,
    labels_known_by: int | None,
    progress: Callable[[int], Any],
    **known: Any,
) -> Bundle:
    """Fit on the first part of the time, choose the threshold and measure on the last.

    block_rate: share of the last part that is to be blocked; or threshold, given. calibration_share: how much the last
    part is. labels_known_by: a fraud whose label came later counts as legitimate, as it would have on that day.
    progress: called with the number of rounds done. Raises UserError if there is too little to learn from.
    """
    labels = data.labels.copy()
    if labels_known_by is not None:
        labels[data.known_ms > labels_known_by] = 0
    columns = np.array([data.view.names.index(name) for name in features], dtype=np.int64)
    order = np.argsort(data.events.occurred_ms, kind="stable")
    cut = int(len(order) * (1 - calibration_share))
    fit, rest = order[:cut], order[cut:]
    frauds = int(labels[fit].sum())
    if frauds < 20 or len(rest) < 100:
        raise UserError(f"train: {frauds} frauds in {len(fit)} transactions to learn from; give more")
    categories = [name for name in data.view.categories if name in features]
    chosen = {**PARAMETERS, **parameters, **FIXED, "seed": seed}
    rounds = int(chosen.pop("num_iterations"))
    dataset = lightgbm.Dataset(
        data.matrix[np.ix_(fit, columns)],
        labels[fit],
        feature_name=list(features),
        categorical_feature=categories or "auto",
        free_raw_data=True,
    )
    booster = lightgbm.train(chosen, dataset, rounds, callbacks=[lambda env: progress(1)])
    scores = np.asarray(booster.predict(data.matrix[np.ix_(rest, columns)], num_threads=2))
    how: dict[str, Any] = {"method": "given"}
    if threshold is None:
        rate = block_rate or 0.03
        threshold = float(np.quantile(scores, 1 - rate))
        how = {"method": "block_rate", "rate": rate, "calibrated_on": len(rest)}
    true = data.labels[rest]
    moments = data.events.occurred_ms[order]
    return create(
        booster.model_to_string(num_iteration=-1).encode(),
        features,
        data.view,
        threshold,
        threshold_chosen=how,
        training=Training(
            fingerprint=data.fingerprint,
            rows=len(fit),
            frauds=frauds,
            first=_iso(int(moments[0])),
            last=_iso(int(moments[-1])),
            labels_known_by=None if labels_known_by is None else _iso(labels_known_by),
        ),
        parameters={**chosen, "num_iterations": rounds},
        metrics={
            "overall": measure(scores, true, threshold),
            "segments": {
                f"{name}={value}": measure(scores[mine], true[mine], threshold)
                for name in categories
                for value, mine in _parts(data, name, rest)
            },
        },
        **known,
    )


def _parts(data: History, name: str, rows: Array) -> Iterable[tuple[str, Array]]:
    codes = data.matrix[rows, data.view.names.index(name)]
    values = next(a.values for a in data.view.attributes if a.name == name)
    for code, value in enumerate(values):
        mine = np.flatnonzero(codes == code)
        if len(mine):
            yield value, mine


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def measure(scores: Array, labels: Array, threshold: float) -> dict[str, float | int | None]:
    """What a model does on n labelled transactions: counts, block rate, recall, average precision, area under ROC."""
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
    """Mean precision at the rank of each fraud, ties taken together; None without a fraud.

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
    """Chance that a fraud scores higher than a legitimate transaction, ties half; None if either is missing.

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
