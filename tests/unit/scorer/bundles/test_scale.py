"""A link and a calibration make probabilities of what a model answers, each row by itself and in the same order."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from harness.frames import FEATURES, VIEW, a_frame, snapshot, trained
from scorer.bundles.bundle import create
from scorer.bundles.scale import Identity, Isotonic, Platt, Sigmoid, probabilities
from scorer.errors import BundleError

FRAME, LABELS = a_frame()
MATRIX = snapshot(FRAME)
numbers = st.lists(st.floats(allow_nan=False), min_size=2, max_size=30)


def test_margins_of_an_own_objective_become_probabilities() -> None:
    def objective(margins: Any, data: lightgbm.Dataset) -> tuple[Any, Any]:
        scores = expit(margins)
        return scores - data.get_label(), scores * (1 - scores)

    booster = trained(FRAME, LABELS, objective=objective)
    text = booster.model_to_string().encode()
    with pytest.raises(BundleError, match=r"own: its answers are not probabilities; .* --link sigmoid"):
        create(text, FEATURES, VIEW, 0.5)
    made = create(text, FEATURES, VIEW, 0.5, link={"kind": "sigmoid"})
    np.testing.assert_allclose(made.score(MATRIX), expit(booster.predict(FRAME)), rtol=1e-14)
    assert made.answers(MATRIX).tolist() == booster.predict(FRAME).tolist()


def test_a_scale_of_a_thousand_becomes_probabilities() -> None:
    booster = trained(FRAME, LABELS * 1000.0, objective="regression")
    made = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5, link={"kind": "identity", "high": 1000})
    np.testing.assert_allclose(made.score(MATRIX), np.clip(booster.predict(FRAME) / 1000, 0, 1), rtol=1e-14)


def test_probabilities_need_no_link() -> None:
    with pytest.raises(BundleError, match="are probabilities already"):
        create(trained(FRAME, LABELS).model_to_string().encode(), FEATURES, VIEW, 0.5, link={"kind": "sigmoid"})


def test_calibrations_are_those_of_scikit_learn_and_scipy() -> None:
    booster = trained(FRAME, LABELS)
    scores = booster.predict(FRAME)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(scores, LABELS)
    steps = {"kind": "isotonic", "x": fitted.X_thresholds_.tolist(), "y": fitted.y_thresholds_.tolist()}
    made = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5, calibration=steps)
    np.testing.assert_allclose(made.score(MATRIX), fitted.predict(scores), rtol=1e-12)
    curve = {"kind": "platt", "slope": 1.3, "intercept": -0.4}
    made = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5, calibration=curve)
    np.testing.assert_allclose(made.score(MATRIX), expit(1.3 * logit(scores) - 0.4), rtol=1e-12)
    assert made.manifest.calibration == Platt(**curve)
    plain = create(booster.model_to_string().encode(), FEATURES, VIEW, 0.5)
    assert b"calibration" not in plain.manifest_bytes, "earlier versions read a manifest that needs nothing new"


@given(numbers, st.floats(0.01, 50), st.floats(-50, 50))
def test_whatever_is_declared_is_monotone_and_a_probability(answers: list[float], slope: float, shift: float) -> None:
    given_ = np.sort(np.array(answers))
    steps = Isotonic(kind="isotonic", x=(0.1, 0.4, 0.9), y=(0.0, 0.7, 0.7))
    for link in (Sigmoid(kind="sigmoid"), Identity(kind="identity", low=-3, high=1000)):
        for calibration in (None, Platt(kind="platt", slope=slope, intercept=shift), steps):
            scores = probabilities(given_, link, calibration)
            assert ((scores >= 0) & (scores <= 1)).all()
            assert (np.diff(scores) >= 0).all()
            alone = [probabilities(np.array([one]), link, calibration)[0] for one in given_]
            assert scores.tolist() == alone


@pytest.mark.parametrize(
    "known",
    [
        {"calibration": {"kind": "platt", "slope": -1, "intercept": 0}},
        {"calibration": {"kind": "isotonic", "x": [0, 1], "y": [1, 0]}},
        {"calibration": {"kind": "isotonic", "x": [0.5, 0.5], "y": [0, 1]}},
        {"calibration": {"kind": "isotonic", "x": [0, 1], "y": [0, 0.5, 1]}},
        {"calibration": {"kind": "isotonic", "x": [0, 2], "y": [0, 1]}},
        {"calibration": {"kind": "beta"}},
        {"calibration": [1]},
        {"link": {"kind": "identity", "low": 5, "high": 5}},
        {"link": {"kind": "identity", "low": float("nan"), "high": 5}},
    ],
)
def test_what_is_not_monotone_is_refused(known: dict[str, Any]) -> None:
    text = trained(FRAME, LABELS * 1000.0, objective="regression").model_to_string().encode()
    with pytest.raises(BundleError, match=r"^(link|calibration)"):
        create(text, FEATURES, VIEW, 0.5, **{"link": {"kind": "sigmoid"}, **known})
