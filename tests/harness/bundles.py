"""A small bundle."""

from __future__ import annotations

import lightgbm
import numpy as np

from scorer.bundles.bundle import create
from scorer.pipeline.view import Attribute, FeatureView

VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"),))


FEATURES = ("age", "amount", "card_count_1h")


def a_booster(objective: str = "binary") -> lightgbm.Booster:
    matrix = np.random.default_rng(1).normal(size=(400, 3))
    labels = (matrix[:, 0] > 0) * (1.0 if objective == "binary" else 100.0)
    fit = {"objective": objective, "verbosity": -1, "num_leaves": 7}
    names = ["a", "b", "c"]
    return lightgbm.train(fit, lightgbm.Dataset(matrix, labels, feature_name=names), 5)


BOOSTER = a_booster()


REGRESSION = a_booster("regression").model_to_string().encode()


TEXT = BOOSTER.model_to_string().encode()


BUNDLE = create(TEXT, FEATURES, VIEW, 0.25, note="a remark")
