"""Fits LightGBM by a recipe on the part of a history that is for it. What comes of it is measured elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorer.bundles.bundle import library
from scorer.bundles.lineage import Recipe
from scorer.errors import UserError
from scorer.pipeline.instants import instant_ms
from scorer.training.history import History, without_gaps
from scorer.training.parameters import FIXED, PARAMETERS, checked
from scorer.training.quality import Array
from scorer.training.split import Cut, cut

_STOPPED = "early_stopping_round"


class NoSplitError(UserError):
    """Every transaction would get the same score."""


@dataclass(frozen=True)
class Fitted:
    """LightGBM's model, how many of its rounds count, and the parameters as they were used."""

    booster: Any
    rounds: int
    used: dict[str, Any]

    def scores(self, matrix: Array, threads: int) -> Array:
        """Scores of n snapshots: float64 (n,). matrix: float64 (n, features of the model)."""
        return np.asarray(self.booster.predict(matrix, num_iteration=self.rounds, num_threads=threads))


@dataclass(frozen=True)
class Prepared:
    """What a training has of a history.

    part: the transactions of its times. labels: as they were known, int8 (n,). columns: positions of its features in
    the view. pieces: what each of its steps has.
    """

    part: History
    labels: Array
    columns: Array
    pieces: Cut

    def matrix(self, rows: Array) -> Array:
        """Snapshots of some transactions: float64 (k, features of the model). Not a copy, if they need not be one: with
        ten million to fit on, a copy is a third of all memory that a training takes."""
        whole, some = self.part.matrix, without_gaps(rows)
        if isinstance(some, slice) and np.array_equal(self.columns, np.arange(whole.shape[1])):
            return whole[some]
        found: Array = whole[np.ix_(rows, self.columns)]
        return found


def prepare(data: History, recipe: Recipe, tell: Callable[[str], Any]) -> Prepared:
    """Cut a history as a recipe says. tell: called with what whoever trains should know. Raises UserError."""
    if recipe.early_stopping is not None and checked(recipe.parameters).get("boosting") == "dart":
        raise UserError("--early-stopping: dart has no best round; leave the option out, or --param boosting=dart")
    category = next((name for name in recipe.monotone if name in data.view.categories), None)
    if category is not None:  # LightGBM ends the whole process over it
        raise UserError(f"--monotone {category}: is a category, whose codes have no order; leave it out")
    part = data.between(*(None if text is None else instant_ms(text) for text in (recipe.since, recipe.until)))
    labels, as_of_ms = _known_labels(part, recipe)
    columns = np.array([part.view.names.index(name) for name in recipe.features], dtype=np.int64)
    _check_columns(part, columns, tell)
    return Prepared(
        part, labels, columns, cut(part.occurred_ms, labels, recipe.calibrate, recipe.label_delay * 1000, as_of_ms)
    )


def fit(prepared: Prepared, recipe: Recipe, progress: Callable[[int], Any], threads: int) -> Fitted:
    """Fit. progress: called with 1 after each round. threads: the model does not depend on how many there are.

    Raises UserError; NoSplitError if the data teach nothing with these parameters.
    """
    labels = prepared.labels[prepared.pieces.fit]
    chosen = {**PARAMETERS, **checked(recipe.parameters), **FIXED, "seed": recipe.seed, **_weight(recipe, labels)}
    if recipe.monotone:
        chosen["monotone_constraints"] = [recipe.monotone.get(name, 0) for name in recipe.features]
    booster, rounds = _fitted(prepared, recipe, chosen, progress, threads)
    used = {**chosen, "num_iterations": rounds}
    if recipe.early_stopping is not None:
        used[_STOPPED] = recipe.early_stopping
    return Fitted(booster, rounds, used)


def _known_labels(part: History, recipe: Recipe) -> tuple[Array, int | None]:
    """Labels as they were known, int8 (n,), and when that was. Raises UserError if frauds do not say when."""
    if recipe.labels_known_by is None:
        return part.labels, None
    unsaid = int(((part.labels == 1) & (part.known_ms == 0)).sum())
    if unsaid:
        raise UserError(
            f"train: {unsaid} frauds do not say when they became known, which --labels-known-by needs; name the "
            "field of that time with the setting mapping.label_time, or leave the option out"
        )
    labels, as_of_ms = part.labels.copy(), instant_ms(recipe.labels_known_by)
    labels[part.known_ms > as_of_ms] = 0
    return labels, as_of_ms


def _check_columns(part: History, columns: Array, tell: Callable[[str], Any]) -> None:
    """Raise UserError for an attribute that says nothing; tell of other features that do not."""
    silent, attributes = [], {attribute.name for attribute in part.view.attributes}
    for at in columns.tolist():
        column = part.matrix[:, at]
        cells = column[~np.isnan(column)]
        if len(cells) and (len(cells) < len(column) or cells.min() < cells.max()):
            continue
        name = part.view.names[at]
        if name in attributes:
            what = f"is {cells[0]:g} in every transaction" if len(cells) else "is missing in every transaction"
            raise UserError(
                f"train: feature {name} {what}, so nothing can be learnt of it; map it in the setting mapping.fields, "
                f"or leave it out (--without {name})"
            )
        silent.append(name)
    if len(silent) == len(columns):
        raise UserError("train: no feature differs between transactions; name others with --features")
    if silent:
        tell(f"the same in every transaction, so nothing is learnt of: {', '.join(silent)}")


def _weight(recipe: Recipe, labels: Array) -> dict[str, float]:
    if recipe.class_weight is None:
        return {}
    frauds = int(labels.sum())
    return {
        "scale_pos_weight": (len(labels) - frauds) / frauds
        if recipe.class_weight == "balanced"
        else recipe.class_weight
    }


def _fitted(
    prepared: Prepared,
    recipe: Recipe,
    chosen: dict[str, Any],
    progress: Callable[[int], Any],
    threads: int,
) -> tuple[Any, int]:
    """LightGBM's model, and how many rounds it has. Takes `num_iterations` out of what was chosen."""
    lightgbm = library()
    labels, pieces = prepared.labels, prepared.pieces
    categories = [name for name in prepared.part.view.categories if name in recipe.features] or "auto"
    rounds = int(chosen.pop("num_iterations"))
    callbacks = [lambda env: progress(1)]
    given: dict[str, Any] = {**chosen, "num_threads": threads}
    try:
        dataset = lightgbm.Dataset(
            prepared.matrix(pieces.fit),
            labels[pieces.fit],
            feature_name=list(recipe.features),
            categorical_feature=categories,
            free_raw_data=True,
        )
        valid = []
        if recipe.early_stopping is not None:
            given["metric"] = "average_precision"
            valid = [
                lightgbm.Dataset(prepared.matrix(pieces.calibration), labels[pieces.calibration], reference=dataset)
            ]
            callbacks.append(lightgbm.early_stopping(recipe.early_stopping, verbose=False))
        booster = lightgbm.train(given, dataset, rounds, valid_sets=valid, callbacks=callbacks)
    except lightgbm.basic.LightGBMError as error:
        raise UserError(f"train: LightGBM refuses these parameters ({' '.join(str(error).split())[:200]})") from None
    if recipe.early_stopping is not None:
        rounds = booster.best_iteration
    if not booster.feature_importance("split").any():
        raise NoSplitError(
            "train: no tree has a split, so every transaction would get the same score; give more transactions, or "
            "parameters that allow smaller leaves (min_data_in_leaf, min_sum_hessian_in_leaf)"
        )
    return booster, rounds
