"""Trains a bundle on labelled transactions, on snapshots made by the scorer's own decoder and features."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle, create
from scorer.bundles.lineage import ByRate, Code, Given, Lineage, Part, Reading, Recipe, Split, digest_of_json
from scorer.bundles.manifest import Training
from scorer.pipeline.instants import stamps
from scorer.training.fitting import fit, prepare
from scorer.training.history import History, Unlabelled
from scorer.training.quality import Array, intervals, measure
from scorer.training.thresholds import threshold_for

#: Digits of measures: the last ones of a score may be others on another machine.
DIGITS = 9
_THREADS = re.compile(r"\[num_threads: \d+\]")


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
    prepared = prepare(data, recipe, tell)
    part, labels, pieces = prepared.part, prepared.labels, prepared.pieces
    fitted = fit(prepared, recipe, progress, threads)
    scores = fitted.scores(prepared.matrix(pieces.calibration), threads)
    true = labels[pieces.calibration]
    if isinstance(recipe.threshold, ByRate) and part.unlabelled is not None:
        alike = _meanwhile(part.unlabelled, part.occurred_ms[pieces.calibration])
        if len(alike):
            scores = np.concatenate([scores, fitted.scores(alike[:, prepared.columns], threads)])
    threshold = threshold_for(recipe.threshold, scores, true, part.amount[pieces.calibration])
    how = recipe.threshold.model_dump()
    how.pop("threshold", None)
    if not isinstance(recipe.threshold, Given):
        how["calibrated_on"] = len(scores)
    tested = fitted.scores(prepared.matrix(pieces.test), threads)
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
        _plain(fitted.booster.model_to_string(num_iteration=fitted.rounds)).encode(),
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
        parameters=fitted.used,
        metrics=_measured(part, pieces.test, tested, labels[pieces.test], threshold, names),
        lineage=lineage,
        **known,
    )


def _meanwhile(unlabelled: Unlabelled, occurred_ms: Array) -> Array:
    """Snapshots of those that occurred in the time of some others."""
    first, last = occurred_ms.min(), occurred_ms.max()
    found: Array = unlabelled.matrix[(unlabelled.occurred_ms >= first) & (unlabelled.occurred_ms <= last)]
    return found


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
