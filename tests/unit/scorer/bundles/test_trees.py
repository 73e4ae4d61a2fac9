"""A model's text is that of whole trees, or it is refused before LightGBM sees it."""

from __future__ import annotations

import re
from typing import Any

import lightgbm
import numpy as np
import pytest

from harness.bundles import TEXT
from scorer.bundles import model_text
from scorer.bundles.trees import check
from scorer.errors import BundleError


def trained(categories: bool = False, **more: Any) -> bytes:
    rng = np.random.default_rng(0)
    matrix = np.c_[rng.normal(size=(1500, 3)), rng.integers(0, 90, 1500)]
    labels = ((matrix[:, 3] % 3 == 0) ^ (matrix[:, 0] > 1)).astype(int)
    matrix[::7, 1] = np.nan
    fit = {"objective": "binary", "verbosity": -1, "max_cat_to_onehot": 1, "min_data_per_group": 5, **more}
    data = lightgbm.Dataset(matrix, labels, categorical_feature=[3] if categories else [])
    return lightgbm.train(fit, data, 6).model_to_string().encode()


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize(
    "more",
    [{}, {"linear_tree": True}, {"boosting": "dart"}, {"num_leaves": 2}, {"min_data_in_leaf": 5000}, {"max_bin": 5}],
    ids=str,
)
def test_whatever_lightgbm_writes_passes(categories: bool, more: dict[str, Any]) -> None:
    check(model_text.read(trained(categories, **more)), 4)


CATEGORIES = trained(True)
LINEAR = trained(linear_tree=True)


@pytest.mark.parametrize(
    ("model", "pattern", "by", "told"),
    [
        (TEXT, r"left_child=1", "left_child=2", "points at 2"),
        (TEXT, r"left_child=1 -1", "left_child=1 -2", "points at -2"),
        (TEXT, r"left_child=1", "left_child=900000", "points at 900000"),
        (TEXT, r"left_child=1", "left_child=0", "points at 0"),
        (TEXT, r"split_feature=0", "split_feature=3", "a feature that is not there"),
        (TEXT, r"split_feature=0", "split_feature=-1", "a feature that is not there"),
        (TEXT, r"leaf_value=-0\.1\d+", "leaf_value=nan", "leaf_value holds no finite numbers"),
        (TEXT, r"leaf_value=-0\.1\d+", "leaf_value=1e300", "no number of log-odds"),
        (TEXT, r"leaf_value=-0\.1\d+ ", "leaf_value=", "has 2 entries, expected 3"),
        (TEXT, r"num_leaves=3", "num_leaves=100000000", "expected 100000000"),
        (TEXT, r"decision_type=2", "decision_type=3", "categories that are missing"),
        (TEXT, r"Tree=1", "Tree=7", "tree 1 is missing"),
        (TEXT, r"tree_sizes=461", "tree_sizes=460", "tree 1 is not where tree_sizes says"),
        (TEXT, r"max_feature_idx=2", "max_feature_idx=1", "3 feature_names and 3 feature_infos, expected 2"),
        (TEXT, r"end of trees", "end", "cut off after 5 trees"),
        (TEXT, r"num_cat=0", "num_cat=0\nnum_cat=0", "is there twice"),
        (
            CATEGORIES,
            r"\[feature_contri: \]",
            "[feature_contr34\n87=i: ]",
            "without a name",
        ),
        (CATEGORIES, r"\[feature_contri: \]", "[feature_contri]", "without a name and a value"),
        (CATEGORIES, r"\[feature_contri: \]", "[: ]", "without a name and a value"),
        (CATEGORIES, r"\[feature_contri: \]", "[feature_contri:]", "without a name and a value"),
        (CATEGORIES, r"\[feature_contri: \]", "x", "without a name and a value"),
        (CATEGORIES, r"\[feature_contri: \]", "[feature\0_contri: ]", "a zero byte"),
        (CATEGORIES, r"\[feature_contri: \]", "[feature_contri: \r]", "a carriage return"),
        (CATEGORIES, r"cat_boundaries=0 \d+", "cat_boundaries=0 99", "cat_boundaries"),
        (CATEGORIES, r"cat_threshold=\d+", "cat_threshold=99999999999", "cat_threshold"),
        (LINEAR, r"num_features=\d+", "num_features=3", "as many as num_features says"),
        (LINEAR, r"leaf_features=([^\n]*)\d", r"leaf_features=\g<1>9", "a feature that is not there"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_damage_that_lightgbm_would_follow_is_refused(model: bytes, pattern: str, by: str, told: str) -> None:
    damaged, n = re.subn(pattern, by, model.decode(), count=1)
    assert n == 1, "the model has no such line"
    if "tree_sizes" not in pattern:  # else that alone would tell
        damaged = re.sub(r"tree_sizes=[^\n]*\n", "", damaged, count=1)
    with pytest.raises(BundleError, match=re.escape(told)) as error:
        check(model_text.read(damaged.encode()), 3 if model is TEXT else 4)
    assert "\n" not in str(error.value)
