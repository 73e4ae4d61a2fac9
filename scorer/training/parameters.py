"""The parameters of LightGBM that a training may set: their names, their bounds, and what is set otherwise. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from scorer.errors import UserError

#: Defaults that suit rare fraud: many small steps, leaves with enough rows, some randomness for the seed to change.
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_cat_to_onehot": 8,
    "num_iterations": 200,
}
#: What no training changes: with these the trees are the same on any number of threads.
FIXED: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
_INT32 = 2**31 - 1


@dataclass(frozen=True)
class _Whole:
    """A whole number."""

    low: int
    high: int = _INT32

    def read(self, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return value if type(value) is int and self.low <= value <= self.high else None

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low}" + (f" to {self.high}" if self.high < _INT32 else "")


@dataclass(frozen=True)
class _Number:
    """A number. is_open: whether the low end is left out."""

    low: float = 0.0
    high: float = math.inf
    is_open: bool = False

    def read(self, value: Any) -> Any:
        if type(value) not in (int, float) or not math.isfinite(value):
            return None
        return value if self.low <= value <= self.high and not (self.is_open and value == self.low) else None

    @property
    def expected(self) -> str:
        return f"a number {'above' if self.is_open else 'from'} {self.low:g}" + (
            f" to {self.high:g}" if self.high < math.inf else ""
        )


@dataclass(frozen=True)
class _Truth:
    """Whether something is."""

    def read(self, value: Any) -> Any:
        return value if type(value) is bool else bool(value) if type(value) is int and value in (0, 1) else None

    @property
    def expected(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class _Word:
    """One of some words."""

    words: tuple[str, ...]

    def read(self, value: Any) -> Any:
        return value if isinstance(value, str) and value in self.words else None

    @property
    def expected(self) -> str:
        return " or ".join(self.words)


_SHARE = _Number(0.0, 1.0, is_open=True)
_Kind = _Whole | _Number | _Truth | _Word
#: What may be set, and LightGBM's other names for it.
KNOWN: dict[str, tuple[_Kind, tuple[str, ...]]] = {
    "num_iterations": (
        _Whole(1, 100_000),
        (
            "num_iteration",
            "n_iter",
            "num_tree",
            "num_trees",
            "num_round",
            "num_rounds",
            "nrounds",
            "num_boost_round",
            "n_estimators",
            "max_iter",
        ),
    ),
    "learning_rate": (_Number(0.0, 100.0, is_open=True), ("shrinkage_rate", "eta")),
    "num_leaves": (_Whole(2, 131_072), ("num_leaf", "max_leaves", "max_leaf", "max_leaf_nodes")),
    "max_depth": (_Whole(-1, 1000), ()),
    "min_data_in_leaf": (_Whole(0), ("min_data_per_leaf", "min_data", "min_child_samples", "min_samples_leaf")),
    "min_sum_hessian_in_leaf": (
        _Number(),
        ("min_sum_hessian_per_leaf", "min_sum_hessian", "min_hessian", "min_child_weight"),
    ),
    "bagging_fraction": (_SHARE, ("sub_row", "subsample", "bagging")),
    "bagging_freq": (_Whole(0), ("subsample_freq",)),
    "feature_fraction": (_SHARE, ("sub_feature", "colsample_bytree")),
    "feature_fraction_bynode": (_SHARE, ("sub_feature_bynode", "colsample_bynode")),
    "extra_trees": (_Truth(), ("extra_tree",)),
    "lambda_l1": (_Number(), ("reg_alpha", "l1_regularization")),
    "lambda_l2": (_Number(), ("reg_lambda", "lambda", "l2_regularization")),
    "min_gain_to_split": (_Number(), ("min_split_gain",)),
    "path_smooth": (_Number(), ()),
    "max_bin": (_Whole(2, 65_535), ("max_bins",)),
    "min_data_in_bin": (_Whole(1), ()),
    "bin_construct_sample_cnt": (_Whole(100), ("subsample_for_bin",)),
    "cat_smooth": (_Number(), ()),
    "cat_l2": (_Number(), ()),
    "max_cat_threshold": (_Whole(1), ()),
    "max_cat_to_onehot": (_Whole(1), ()),
    "min_data_per_group": (_Whole(1), ()),
    "monotone_penalty": (_Number(), ("monotone_splits_penalty", "ms_penalty", "mc_penalty")),
    "monotone_constraints_method": (
        _Word(("basic", "intermediate", "advanced")),
        ("monotone_constraining_method", "mc_method"),
    ),
    "boost_from_average": (_Truth(), ()),
    "boosting": (_Word(("gbdt", "dart")), ("boosting_type", "boost")),
    "linear_tree": (_Truth(), ("linear_trees",)),
    "linear_lambda": (_Number(), ()),
}
#: What is set by other means, and by which.
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        ("objective", "objective_type", "app", "application", "loss", "metric", "metrics", "num_class"),
        "the objective is binary; wrap a model with another by `scorer bundle create`",
    ),
    **dict.fromkeys(("seed", "random_seed", "random_state"), "give --seed"),
    **dict.fromkeys(
        ("bagging_seed", "feature_fraction_seed", "data_random_seed", "extra_seed", "drop_seed", "objective_seed"),
        "it follows from --seed",
    ),
    **dict.fromkeys(("num_threads", "num_thread", "nthread", "nthreads", "n_jobs"), "give --threads"),
    **dict.fromkeys(
        ("deterministic", "force_row_wise", "force_col_wise", "verbosity", "verbose", "device_type", "device"),
        "it is fixed, so that the same training gives the same model",
    ),
    **dict.fromkeys(
        ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change"), "give --early-stopping"
    ),
    **dict.fromkeys(
        ("scale_pos_weight", "is_unbalance", "unbalance", "unbalanced_sets", "class_weight"), "give --class-weight"
    ),
    **dict.fromkeys(("monotone_constraints", "mc", "monotone_constraint", "monotonic_cst"), "give --monotone"),
    **dict.fromkeys(("categorical_feature", "cat_feature"), "the feature view says which features are categories"),
}
_NAMES = {alias: name for name, (_, aliases) in KNOWN.items() for alias in (name, *aliases)}


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters under LightGBM's own names. Raises UserError that names the one at fault and the mend."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _NAMES.get(key)
        if name is None:
            raise UserError(f"--param {key[:60]}: {_unknown(key)}")
        kind, _ = KNOWN[name]
        read = kind.read(value)
        if read is None:
            raise UserError(f"--param {key}={str(value)[:60]}: expected {kind.expected}")
        if name in found:
            raise UserError(f"--param {key}: {name} is given twice; give it once")
        found[name] = read
    return found


def _unknown(key: str) -> str:
    if key in ELSEWHERE:
        return f"cannot be set; {ELSEWHERE[key]}"
    near = get_close_matches(key, [*_NAMES, *ELSEWHERE], 1, 0.7)
    mend = f"did you mean {near[0]}?" if near else f"name one of {', '.join(sorted(KNOWN))}"
    return f"is no parameter that a training takes; {mend}"
