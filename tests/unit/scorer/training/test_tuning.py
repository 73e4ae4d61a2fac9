"""A search of parameters: it repeats, never sees what a model is tested on, and leaves nothing that must be searched
again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score

from harness.histories import NO_MAPPING
from scorer.bundles.lineage import ByRate, Recipe, Tuned
from scorer.cli.train import train as command
from scorer.errors import UserError
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources.files import read_transactions
from scorer.training.fitting import prepare
from scorer.training.history import History, read_history
from scorer.training.parameters import PARAMETERS
from scorer.training.train import train
from scorer.training.tuning import SPACE, searched, tune

pytest.importorskip("optuna")
VIEW = FeatureView(
    name="v",
    attributes=(
        Attribute(name="country", kind="category", values=("DE", "ES", "FR", "GB")),
        Attribute(name="device_age_days", kind="number"),
    ),
)
RECIPE = Recipe(features=VIEW.names, seed=3, parameters={"num_iterations": 8}, threshold=ByRate(rate=0.05))
TRIALS = 4


@pytest.fixture(scope="module")
def data(history: Path) -> History:
    return read_history(read_transactions(history, NO_MAPPING), VIEW, Reading(), str(history))


@pytest.fixture(scope="module")
def found(data: History) -> tuple[Recipe, Tuned]:
    return tune(data, RECIPE, TRIALS)


def test_the_same_seed_finds_the_same_parameters_on_any_number_of_threads(
    data: History, found: tuple[Recipe, Tuned]
) -> None:
    assert tune(data, RECIPE, TRIALS, threads=3) == found
    other, _ = tune(data, RECIPE.model_copy(update={"seed": 2}), TRIALS)
    assert other.parameters != found[0].parameters


def test_what_a_model_is_tested_on_changes_nothing_and_what_sets_its_threshold_does(
    data: History, found: tuple[Recipe, Tuned]
) -> None:
    pieces = prepare(data, RECIPE, lambda text: None).pieces
    rng = np.random.default_rng(5)

    def with_other_labels(rows: Any) -> History:
        labels = data.labels.copy()
        labels[rows] = rng.permutation(labels[rows])
        return replace(data, labels=labels)

    assert tune(with_other_labels(pieces.test), RECIPE, TRIALS) == found
    assert tune(with_other_labels(pieces.calibration), RECIPE, TRIALS)[1] != found[1]


def test_what_is_said_of_the_search_is_true_of_the_model(data: History, found: tuple[Recipe, Tuned]) -> None:
    recipe, told = found
    rows = prepare(data, RECIPE, lambda text: None).pieces.calibration
    for one, value in ((RECIPE, told.first), (recipe, told.best)):
        scores = train(data, one).score(data.matrix[rows])
        assert average_precision_score(data.labels[rows], scores) == pytest.approx(value, rel=1e-6)
    assert told.first is not None
    assert told.best > told.first
    assert told.trials == TRIALS
    assert set(told.searched) == set(SPACE) - {"num_iterations"}


def test_what_is_given_stays_and_every_default_lies_where_it_is_searched(found: tuple[Recipe, Tuned]) -> None:
    assert found[0].parameters["num_iterations"] == 8
    assert found[0].model_copy(update={"parameters": RECIPE.parameters}) == RECIPE
    for name, where in SPACE.items():
        assert where.low <= PARAMETERS[name] <= where.high
    stopping = RECIPE.model_copy(update={"early_stopping": 5, "parameters": {}})
    assert "num_iterations" not in searched(stopping)
    with pytest.raises(UserError, match="every parameter that it searches is given"):
        searched(RECIPE.model_copy(update={"parameters": {name: PARAMETERS[name] for name in SPACE}}))


def test_progress_tells_the_best_so_far(data: History, found: tuple[Recipe, Tuned]) -> None:
    told: list[float] = []
    tune(data, RECIPE, TRIALS, told.append)
    assert told == sorted(told)
    assert (len(told), told[0], told[-1]) == (TRIALS, found[1].first, found[1].best)


def test_trials_without_a_model_are_passed_over_and_if_there_is_none_it_is_said(data: History) -> None:
    barren = RECIPE.model_copy(update={"parameters": {"num_iterations": 2, "min_sum_hessian_in_leaf": 1e9}})
    with pytest.raises(UserError, match="no tree has a split in any of 2 trials"):
        tune(data, barren, 2)


def test_a_missing_library_is_one_line_that_names_the_extra(data: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"^--tune: needs optuna; install the extra `tune` \(.*\)$"):
        tune(data, RECIPE, TRIALS)


@pytest.mark.parametrize("text", ["0", "1", "-3", "1001", "many", "2.5", ""])
def test_a_bad_number_of_trials_is_refused(history: Path, text: str) -> None:
    result = CliRunner().invoke(command, [str(history), "--tune", text])
    assert result.exit_code == 2
    assert "'--tune'" in result.output
