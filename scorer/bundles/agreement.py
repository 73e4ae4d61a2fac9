"""Whether a bundle gives the scores that its trainer's own code gives for the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from scorer.bundles.bundle import Bundle
from scorer.errors import BundleError

#: Columns with the trainer's scores: the model's own answers, and probabilities after link and calibration.
ANSWER, PROBABILITY = "score", "probability"
#: Scores that were written as text with seven digits still agree.
TOLERANCE = 1e-6
#: Booleans as texts.
WORDS = {"true": "1", "false": "0"}
#: Most rows that a message shows.
SHOWN = 3


def check_scores(bundle: Bundle, rows: Mapping[str, Sequence[object]]) -> int:
    """Raise BundleError that shows rows whose scores differ; returns how many rows agree.

    rows: for each column, a cell a row: the features under the view's names or the model's own, and `score`, what the
    model answers, or `probability`, what comes out after link and calibration. Categories are their values, as texts;
    a missing value is None or an empty text.
    """
    named = [column for column in (ANSWER, PROBABILITY) if column in rows]
    if not named:
        raise BundleError(f"--check: no column {ANSWER} or {PROBABILITY}; add the scores that your own code gives")
    count = len(rows[named[0]])
    if not count:
        raise BundleError("--check: no rows; add some, with the scores that your own code gives")
    matrix = np.empty((count, len(bundle.features)))
    for at, (ours, theirs) in enumerate(zip(bundle.features, bundle.text.names, strict=True)):
        column = ours if ours in rows else theirs
        if column not in rows:
            raise BundleError(f"--check: no column {ours}; add it, as every feature of the model is needed")
        matrix[:, at] = _coded(rows[column], column, bundle.manifest.view.features[ours])
    for column in named:
        wanted = _coded(rows[column], column, {"kind": "number"})
        got = bundle.answers(matrix) if column == ANSWER else bundle.score(matrix)
        apart = ~(np.abs(got - wanted) <= TOLERANCE * np.maximum(1.0, np.abs(wanted)))
        if apart.any():
            worst = np.flatnonzero(apart)[np.argsort(-np.abs(got - wanted)[apart], kind="stable")][:SHOWN]
            shown = ", ".join(f"row {at + 1} has {wanted[at]:.9g} and the bundle {got[at]:.9g}" for at in worst)
            raise BundleError(
                f"--check: {column}: {apart.sum()} of {count} rows differ ({shown}); are the features, their order, "
                "the categories and the class that means fraud the same as in training?"
            )
    return count


def _coded(cells: Sequence[object], column: str, definition: Mapping[str, object]) -> npt.NDArray[np.float64]:
    """Numbers of a column as a snapshot has them. Raises BundleError that names the row."""
    values = definition.get("values", ())
    codes = {str(value): float(code) for code, value in enumerate(values if isinstance(values, list | tuple) else ())}
    coded = np.empty(len(cells))
    for at, cell in enumerate(cells):
        if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
            coded[at] = math.nan
        elif definition.get("kind") == "category":
            text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
            coded[at] = codes.get(text, float(len(codes)))
        else:
            try:
                coded[at] = _number(cell)
            except ValueError:
                raise BundleError(f"--check: row {at + 1}: {column}: {str(cell)[:40]!r} is not a number") from None
    return coded


def _number(cell: object) -> float:
    """Raises ValueError."""
    if isinstance(cell, str):
        text = cell.strip().lower()
        return float(WORDS.get(text, text))
    if isinstance(cell, int | float):
        return float(cell)
    raise ValueError
