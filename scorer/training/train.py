"""Trains a bundle on labelled transactions, on snapshots made by the scorer's own decoder and features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle, create, library
from scorer.bundles.manifest import Training
from scorer.errors import UserError
from scorer.training.history import History
from scorer.training.quality import Array, measure

#: Defaults that suit rare fraud: many small steps, leaves with enough rows, some randomness for the seed to change.
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
    """Fit on the earlier transactions; choose the threshold and measure on the later ones.

    features: names. threshold: None to choose it such that a share `block_rate` of the later transactions is blocked,
    0.03 if None. calibration_share: share of the transactions that are the later ones. parameters: of LightGBM, over
    `PARAMETERS`. labels_known_by: milliseconds since 1970; a fraud whose label became known later is trained on as
    legitimate, as it would have been then. progress: called with 1 after each round. known: further fields of the
    manifest.

    Raises UserError if there are fewer than 20 frauds to fit on, or 100 later transactions; BundleError as `create`
    does.
    """
    labels = data.labels.copy()
    if labels_known_by is not None:
        unsaid = int(((labels == 1) & (data.known_ms == 0)).sum())
        if unsaid:
            raise UserError(
                f"train: {unsaid} frauds do not say when they became known, which --labels-known-by needs; name the "
                "field of that time with the setting mapping.label_time, or leave the option out"
            )
        labels[data.known_ms > labels_known_by] = 0
    columns = np.array([data.view.names.index(name) for name in features], dtype=np.int64)
    order = np.argsort(data.events.occurred_ms, kind="stable")
    cut = int(len(order) * (1 - calibration_share))
    fit, rest = order[:cut], order[cut:]
    frauds = int(labels[fit].sum())
    if frauds < 20 or len(rest) < 100:
        raise UserError(
            f"train: {frauds} frauds in {len(fit)} transactions to fit on and {len(rest)} to calibrate on, expected at "
            "least 20 frauds and 100 to calibrate on; give more transactions"
        )
    categories = [name for name in data.view.categories if name in features]
    chosen = {**PARAMETERS, **parameters, **FIXED, "seed": seed}
    rounds = int(chosen.pop("num_iterations"))
    dataset = library().Dataset(
        data.matrix[np.ix_(fit, columns)],
        labels[fit],
        feature_name=list(features),
        categorical_feature=categories or "auto",
        free_raw_data=True,
    )
    booster = library().train(chosen, dataset, rounds, callbacks=[lambda env: progress(1)])
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
