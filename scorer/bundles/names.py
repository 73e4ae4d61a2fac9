"""Whether a model's features are those of the feature view: names, their order, and the codes of categories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.bundles.model_text import ModelText
from scorer.errors import BundleError

#: Most values of a category that a message lists.
LISTED = 20


def feature_names(text: ModelText, given: Sequence[str] | None) -> tuple[str, ...]:
    """The view's name of each of the model's features, in the model's order.

    given: what a person said: the view's names in the model's order, or MODEL=VIEW pairs for those that are named
    differently; None for the model's own names. Raises BundleError.
    """
    if given is None:
        return text.names
    pairs = [name for name in given if "=" in name]
    if not pairs:
        return tuple(given)
    if len(pairs) < len(given):
        odd = next(name for name in given if "=" not in name)
        raise BundleError(f"--features: {odd} is no MODEL=VIEW pair, others are; write all as pairs, or none")
    renamed: dict[str, str] = {}
    for pair in pairs:
        theirs, _, ours = (part.strip() for part in pair.partition("="))
        own = theirs.replace(" ", "_")  # as LightGBM writes it
        if own not in text.names:
            raise BundleError(f"--features: the model has no feature {theirs}; it has {_listed(text.names)}")
        if own in renamed:
            raise BundleError(f"--features: {theirs} is there twice; keep one of them")
        renamed[own] = ours
    return tuple(renamed.get(name, name) for name in text.names)


def check_names(text: ModelText, features: Sequence[str], view: str, known: Sequence[str]) -> None:
    """Raise BundleError unless these are names of the view, one for each feature of the model, in the model's order.

    features: the view's names in the model's order. view: its id. known: its names.
    """
    if len(features) != len(text.names):
        raise BundleError(
            f"features: {len(features)} names, expected {len(text.names)}, one for each feature of the model"
        )
    twice = next((name for at, name in enumerate(features) if name in features[:at]), None)
    if twice is not None:
        raise BundleError(f"features: {twice} is there twice; each feature of the model has a name of its own")
    if text.is_named:
        for at, name in enumerate(features):
            if name in text.names and text.names[at] != name:
                raise BundleError(
                    f"features: {name} is number {at + 1} here, and number {text.names.index(name) + 1} in the model; "
                    "leave --features out, or write MODEL=VIEW pairs"
                )
    missing = [at for at, name in enumerate(features) if name not in known]
    if missing:
        lines = ", ".join(_attribute(text, at, features[at]) for at in missing)
        are = "is" if len(missing) == 1 else "are"
        raise BundleError(
            f"features: {', '.join(features[at] for at in missing)} {are} not in feature view {view}; "
            f"add to its attributes: {lines}; or pair a name with the view's, as in --features MODEL=VIEW"
        )


def recoded(
    text: ModelText, features: Sequence[str], definitions: Mapping[str, Mapping[str, Any]]
) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """How codes of the view become codes of a model that was trained on pandas' categories.

    Column in the model's matrix, and for each code of the view the model's, float64 (values + 2,): the last but one is
    for a value that the view does not list, the last for a missing one. A value that the model has not seen is NaN to
    it, as LightGBM's own prediction on a data frame has it.

    Raises BundleError if the categories cannot be told apart, or the view lacks a value that the model knows.
    """
    if not text.categories:
        return []
    ours = [at for at, name in enumerate(features) if definitions[name].get("kind") == "category"]
    if len(ours) != len(text.categories):
        raise BundleError(
            f"model.txt: trained on {len(text.categories)} columns of pandas categories, but {len(ours)} of its "
            f"features ({_listed([features[at] for at in ours])}) are categories in the view; make them the same"
        )
    tables = []
    for at, theirs in zip(ours, text.categories, strict=True):
        values = list(definitions[features[at]].get("values", ()))
        lacking = [value for value in theirs if value not in values]
        if lacking:
            raise BundleError(
                f"features: {features[at]}: the model knows values that the feature view does not list; "
                f"add {json.dumps(lacking[:LISTED], ensure_ascii=False)} to it"
            )
        codes = {value: float(code) for code, value in enumerate(theirs)}
        tables.append((at, np.array([*(codes.get(value, np.nan) for value in values), np.nan, np.nan])))
    return tables


def _attribute(text: ModelText, at: int, name: str) -> str:
    """The line of a feature view that declares a feature of the model."""
    columns = [i for i, is_category in enumerate(text.categorical) if is_category]
    if at not in columns:
        return f"{{name: {name}, kind: number}}"
    known = text.categories[columns.index(at)] if len(columns) == len(text.categories) else ()
    values = json.dumps(known[:LISTED], ensure_ascii=False) if known else "[...]"
    return f"{{name: {name}, kind: category, values: {values}}}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more if names else "none"
