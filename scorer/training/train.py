"""Trains a bundle on labelled transactions, on snapshots made by the scorer's own decoder and features."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle, create, library
from scorer.bundles.lineage import ByRate, Code, Given, Lineage, Part, Reading, Recipe, Split, digest_of_json
from scorer.bundles.manifest import Training
from scorer.errors import UserError
from scorer.pipeline.instants import instant_ms, stamps
from scorer.training.history import History, Unlabelled
from scorer.training.parameters import FIXED, PARAMETERS, checked
from scorer.training.quality import Array, intervals, measure
from scorer.training.split import Cut, cut
from scorer.training.thresholds import threshold_for

#: Digits of measures: the last ones of a score may be others on another machine.
DIGITS = 9
_THREADS = re.compile(r"\[num_threads: \d+\]")
_STOPPED = "early_stopping_round"


def train(
    data: History,
    recipe: Recipe,
    progress: Callable[[int], Any] = lambda rounds: None,
    threads: int = 1,
    reading: Reading | None = None,
    code: Code | None = None,
    tell: Callable[[str], Any] = lambda text: None,
    **known: Any,
) -> Bundle:
    """Fit on the earlier transactions; choose the threshold and measure on later ones.

    A fraud whose label became known after `recipe.labels_known_by` is trained on as legitimate, as it would have been
    then. progress: called with 1 after each round. threads: the model does not depend on how many there are. reading,
    code: of the manifest's lineage, which is left out without them. tell: called with what whoever trains should know.
    known: further fields of the manifest.

    Raises UserError if the data cannot teach what is asked for; BundleError as `create` does.
    """
    parameters = checked(recipe.parameters)
    if recipe.early_stopping is not None and parameters.get("boosting") == "dart":
        raise UserError("--early-stopping: dart has no best round; leave the option out, or --param boosting=dart")
    category = next((name for name in recipe.monotone if name in data.view.categories), None)
    if category is not None:  # LightGBM ends the whole process over it
        raise UserError(f"--monotone {category}: is a category, whose codes have no order; leave it out")
    part = data.between(*(None if text is None else instant_ms(text) for text in (recipe.since, recipe.until)))
    labels, as_of_ms = _known_labels(part, recipe)
    columns = np.array([part.view.names.index(name) for name in recipe.features], dtype=np.int64)
    _check_columns(part, columns, tell)
    pieces = cut(part.occurred_ms, labels, recipe.calibrate, recipe.label_delay * 1000, as_of_ms)
    chosen = {**PARAMETERS, **parameters, **FIXED, "seed": recipe.seed, **_weight(recipe, labels[pieces.fit])}
    if recipe.monotone:
        chosen["monotone_constraints"] = [recipe.monotone.get(name, 0) for name in recipe.features]
    booster, rounds = _fitted(part, columns, labels, pieces, recipe, chosen, progress, threads)
    used = {**chosen, "num_iterations": rounds}
    if recipe.early_stopping is not None:
        used[_STOPPED] = recipe.early_stopping

    def scores_of(rows: Array) -> Array:
        matrix = part.matrix[np.ix_(rows, columns)]
        return np.asarray(booster.predict(matrix, num_iteration=rounds, num_threads=threads))

    scores = scores_of(pieces.calibration)
    true = labels[pieces.calibration]
    if isinstance(recipe.threshold, ByRate) and part.unlabelled is not None:
        alike = _meanwhile(part.unlabelled, part.occurred_ms[pieces.calibration])
        if len(alike):
            more = np.asarray(booster.predict(alike[:, columns], num_iteration=rounds, num_threads=threads))
            scores = np.concatenate([scores, more])
    threshold = threshold_for(recipe.threshold, scores, true, part.amount[pieces.calibration])
    how = recipe.threshold.model_dump()
    how.pop("threshold", None)
    if not isinstance(recipe.threshold, Given):
        how["calibrated_on"] = len(scores)
    tested = scores_of(pieces.test)
    names = [name for name in part.view.categories if name in recipe.features]
    sources = data.view.sources(recipe.features)
    content = {name: of for name, of in data.data.content.items() if name in sources or _is_of_all(data, name)}
    lineage = None
    if reading is not None and code is not None:
        split = Split(**{name: _part(part, labels, rows) for name, rows in vars(pieces).items()})
        its_data = data.data.model_copy(update={"content": content})
        lineage = Lineage(recipe=recipe, split=split, data=its_data, reading=reading, code=code)
    order = np.sort(part.occurred_ms)
    return create(
        _plain(booster.model_to_string(num_iteration=rounds)).encode(),
        recipe.features,
        part.view,
        threshold,
        threshold_chosen=how,
        training=Training(
            fingerprint=digest_of_json([content, recipe.since, recipe.until]),
            rows=len(pieces.fit),
            frauds=int(labels[pieces.fit].sum()),
            first=_iso(int(order[0])),
            last=_iso(int(order[-1])),
            labels_known_by=recipe.labels_known_by,
        ),
        parameters=used,
        metrics=_measured(part, pieces.test, tested, labels[pieces.test], threshold, names),
        lineage=lineage,
        **known,
    )


def _meanwhile(unlabelled: Unlabelled, occurred_ms: Array) -> Array:
    """Snapshots of those that occurred in the time of some others."""
    first, last = occurred_ms.min(), occurred_ms.max()
    found: Array = unlabelled.matrix[(unlabelled.occurred_ms >= first) & (unlabelled.occurred_ms <= last)]
    return found


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
    silent = []
    for at in columns.tolist():
        column = part.matrix[:, at]
        cells = column[~np.isnan(column)]
        if len(cells) and (len(cells) < len(column) or cells.min() < cells.max()):
            continue
        name = part.view.names[at]
        if 0 <= at - part.view.first_attribute < len(part.view.attributes):
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
    part: History,
    columns: Array,
    labels: Array,
    pieces: Cut,
    recipe: Recipe,
    chosen: dict[str, Any],
    progress: Callable[[int], Any],
    threads: int,
) -> tuple[Any, int]:
    """LightGBM's model, and how many rounds it has. Takes `num_iterations` out of what was chosen."""
    lightgbm = library()
    categories = [name for name in part.view.categories if name in recipe.features] or "auto"
    rounds = int(chosen.pop("num_iterations"))
    callbacks = [lambda env: progress(1)]
    given: dict[str, Any] = {**chosen, "num_threads": threads}
    try:
        dataset = lightgbm.Dataset(
            part.matrix[np.ix_(pieces.fit, columns)],
            labels[pieces.fit],
            feature_name=list(recipe.features),
            categorical_feature=categories,
            free_raw_data=True,
        )
        valid = []
        if recipe.early_stopping is not None:
            given["metric"] = "average_precision"
            valid = [
                lightgbm.Dataset(
                    part.matrix[np.ix_(pieces.calibration, columns)], labels[pieces.calibration], reference=dataset
                )
            ]
            callbacks.append(lightgbm.early_stopping(recipe.early_stopping, verbose=False))
        booster = lightgbm.train(given, dataset, rounds, valid_sets=valid, callbacks=callbacks)
    except lightgbm.basic.LightGBMError as error:
        raise UserError(f"train: LightGBM refuses these parameters ({' '.join(str(error).split())[:200]})") from None
    if recipe.early_stopping is not None:
        rounds = booster.best_iteration
    if not booster.feature_importance("split").any():
        raise UserError(
            "train: no tree has a split, so every transaction would get the same score; give more transactions, or "
            "parameters that allow smaller leaves (min_data_in_leaf, min_sum_hessian_in_leaf)"
        )
    return booster, rounds


def _plain(model: str) -> str:
    """The text of a model without how many threads there were."""
    return _THREADS.sub("[num_threads: 0]", model)


def _is_of_all(data: History, name: str) -> bool:
    """Whether a hash of content is not that of an attribute."""
    return name not in {attribute.name for attribute in data.view.attributes}


def _measured(
    part: History, rows: Array, scores: Array, labels: Array, threshold: float, names: Iterable[str]
) -> dict[str, Any]:
    found = {"": measure(scores, labels, threshold)}
    found |= {
        f"{name}={value}": measure(scores[mine], labels[mine], threshold)
        for name in names
        for value, mine in _parts(part, name, rows)
    }
    ranges = {name: _rounded(intervals(measures)) for name, measures in found.items()}
    measures = {name: _rounded(of) for name, of in found.items()}
    return {
        "overall": measures.pop(""),
        "segments": measures,
        "intervals": {"overall": ranges.pop(""), "segments": ranges},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _parts(data: History, name: str, rows: Array) -> Iterable[tuple[str, Array]]:
    codes = data.matrix[rows, data.view.names.index(name)]
    values = next(a.values for a in data.view.attributes if a.name == name)
    for code, value in enumerate(values):
        mine = np.flatnonzero(codes == code)
        if len(mine):
            yield value, mine


def _part(data: History, labels: Array, rows: Array) -> Part:
    occurred = data.occurred_ms[rows]
    return Part(
        transactions=len(rows),
        frauds=int(labels[rows].sum()),
        first=_iso(int(occurred.min())),
        last=_iso(int(occurred.max())),
    )


def _iso(ms: int) -> str:
    return stamps(np.array([ms], dtype=np.int64))[0]
