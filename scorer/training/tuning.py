"""Searches parameters of LightGBM: those whose model has the best average precision on the calibration part.

A search sees what a training fits on and what sets its threshold, and never what it is tested on. What it finds goes
into the recipe, as if a person had given it, so that nobody has to search again to make the model once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scorer.bundles.lineage import Recipe, Tuned
from scorer.errors import UserError
from scorer.training.fitting import NoSplitError, Prepared, fit, prepare
from scorer.training.history import History
from scorer.training.parameters import PARAMETERS, checked
from scorer.training.quality import average_precision

#: Most trials of a search: each fits a model.
MOST_TRIALS = 1000
#: Digits of a parameter that was found, and of what is said of it: the last ones are another machine's.
DIGITS, MEASURED_DIGITS = 4, 9


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched. log: evenly on the scale of logarithms. step: of whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: int = 1

    def of(self, trial: Any, name: str) -> Any:
        """What a trial of optuna suggests."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=self.step, log=self.log)
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.{DIGITS}g}")


#: What is searched, unless it is given. Each default lies within.
SPACE: dict[str, Range] = {
    "learning_rate": Range(0.01, 0.3, log=True),
    "num_leaves": Range(7, 127, log=True, whole=True),
    "min_data_in_leaf": Range(20, 1000, log=True, whole=True),
    "feature_fraction": Range(0.4, 1.0),
    "bagging_fraction": Range(0.4, 1.0),
    "lambda_l2": Range(0.1, 100.0, log=True),
    "num_iterations": Range(50, 500, whole=True, step=10),
}


def searched(recipe: Recipe) -> tuple[str, ...]:
    """Which parameters a search would choose: those that the recipe does not give. Raises UserError if it gives all.

    With early stopping the rounds follow from the others.
    """
    given = checked(recipe.parameters)
    names = tuple(
        name for name in SPACE if name not in given and (name != "num_iterations" or recipe.early_stopping is None)
    )
    if not names:
        raise UserError("--tune: every parameter that it searches is given by --param; leave one of them out")
    return names


def optuna() -> Any:
    """The library that searches. Raises UserError if it is not installed."""
    try:
        found: Any = import_module("optuna")
    except ImportError:
        raise UserError("--tune: needs optuna; install the extra `tune` (pip install 'shadow-scorer[tune]')") from None
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def tune(
    data: History,
    recipe: Recipe,
    trials: int,
    progress: Callable[[float], Any] = lambda best: None,
    threads: int = 1,
) -> tuple[Recipe, Tuned]:
    """A recipe with the best parameters of some trials, and how they were found.

    The first trial has the defaults, so what is found is no worse on the calibration part. The recipe's seed is that of
    the search, too: the same data, recipe, trials and version of optuna give the same parameters, on any number of
    threads. progress: called with the best average precision so far after each trial.

    Raises UserError as `train` does, and if no trial has a model.
    """
    library, names = optuna(), searched(recipe)
    prepared = prepare(data, recipe, lambda text: None)
    study = library.create_study(direction="maximize", sampler=library.samplers.TPESampler(seed=recipe.seed))
    study.enqueue_trial({name: PARAMETERS[name] for name in names})
    first: float | None = None
    best: tuple[float, Mapping[str, Any]] | None = None
    for number in range(trials):
        trial = study.ask()
        found = {name: SPACE[name].of(trial, name) for name in names}
        value = _tried(prepared, _with(recipe, found), threads)
        study.tell(trial, 0.0 if value is None else value)
        if number == 0:
            first = value
        if value is not None and (best is None or value > best[0]):
            best = value, found
        progress(0.0 if best is None else best[0])
    if best is None:
        raise UserError(
            f"--tune: no tree has a split in any of {trials} trials; give more transactions, or more trials"
        )
    told = Tuned(
        by=f"optuna {library.__version__}", seed=recipe.seed, trials=trials, first=first, best=best[0], searched=names
    )
    return _with(recipe, best[1]), told


def _with(recipe: Recipe, found: Mapping[str, Any]) -> Recipe:
    return recipe.model_copy(update={"parameters": {**recipe.parameters, **found}})


def _tried(prepared: Prepared, recipe: Recipe, threads: int) -> float | None:
    """Average precision on the calibration part; None if there is no model."""
    rows = prepared.pieces.calibration
    try:
        fitted = fit(prepared, recipe, lambda rounds: None, threads)
    except NoSplitError:
        return None
    value = average_precision(fitted.scores(prepared.matrix(rows), threads), prepared.labels[rows])
    assert value is not None  # noqa: S101 - `cut` has seen a fraud there
    return float(f"{value:.{MEASURED_DIGITS}g}")
