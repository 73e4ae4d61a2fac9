"""The fast predictor serves only where it gives LightGBM's scores, bit for bit; whatever it does, the bundle lives."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.places import ROOT
from scorer.bundles import edges, model_text, trees
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.notes import Notes
from scorer.bundles.predictor import FAST, LIGHTGBM, UnfitError, check, fast, versions
from scorer.bundles.proof import Comparison, prove
from scorer.bundles.store import BundleStore
from scorer.pipeline.batch import Matrix
from scorer.pipeline.view import Attribute, FeatureView

VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"),))
FEATURES = ("age", "amount", "card_count_1h", "hour_of_day")
#: Columns of the training data that are categories, if there are any.
CATEGORIES = (1, 2)


def data(rng: np.random.Generator, rows: int, wide: int, top: int, scale: float, missing: float) -> Matrix:
    """Training data: features on a grid, so that rows lie on thresholds; the second and third may be categories."""
    matrix = np.round(rng.normal(size=(rows, wide)), 1) * scale
    for at in CATEGORIES:
        if at < wide and top:
            matrix[:, at] = rng.integers(0, top, rows)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix


def booster(seed: int, wide: int = 4, top: int = 0, scale: float = 1.0, missing: float = 0.1, **fit: object) -> Any:
    rng = np.random.default_rng(seed)
    matrix = data(rng, 1500, wide, top, scale, missing)
    told = np.nan_to_num(matrix / scale)
    labels = (told[:, 0] + (told[:, -1] % 3) + rng.normal(size=len(matrix)) > 0.5).astype(int)
    columns = [at for at in CATEGORIES if at < wide] if top else []
    chosen = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 15, "min_data_per_group": 1,
              "cat_smooth": 1.0, **fit}  # fmt: skip
    return lightgbm.train(chosen, lightgbm.Dataset(matrix, labels, categorical_feature=columns), 12)


def slow(of: Any) -> Callable[[Matrix], Matrix]:
    def predict(matrix: Matrix) -> Matrix:
        answers: Matrix = of.predict(matrix, num_threads=1)
        return answers

    return predict


def bundle(of: Any) -> Bundle:
    return create(of.model_to_string().encode(), FEATURES, VIEW, 0.5)


GOOD = bundle(booster(1))


def compared(of: Any, least: int = 3000) -> Callable[[Matrix], Matrix]:
    """The fast predictor of a model, once it has passed the comparison."""
    model = of.model_to_string().encode()
    text = model_text.read(model)
    trees.check(text, of.num_feature())
    check(text, model, slow(of), least=least)
    return fast(model)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**16),
    wide=st.sampled_from([1, 2, 4, 30]),
    top=st.sampled_from([0, 0, 3, 60, 70, 500]),
    scale=st.sampled_from([1.0, 1e-35, 1e-300, 1e30]),
    missing=st.sampled_from([0.0, 0.1, 0.7]),
    fit=st.fixed_dictionaries(
        {
            "objective": st.sampled_from(["binary", "binary", "cross_entropy", "regression"]),
            "boosting": st.sampled_from(["gbdt", "dart", "goss"]),
            "num_leaves": st.sampled_from([2, 5, 31, 200]),
            "min_data_in_leaf": st.sampled_from([1, 20]),
            "use_missing": st.booleans(),
            "zero_as_missing": st.booleans(),
            "max_bin": st.sampled_from([3, 255]),
            "max_cat_to_onehot": st.sampled_from([1, 4]),
            "sigmoid": st.sampled_from([1.0, 0.3, 2.5]),
            "learning_rate": st.sampled_from([0.05, 1.0]),
            "extra_trees": st.booleans(),
        }
    ),
)
def test_what_passed_answers_every_other_row_as_lightgbm_does(
    seed: int, wide: int, top: int, scale: float, missing: float, fit: dict[str, Any]
) -> None:
    of = booster(seed, wide, top, scale, missing, **fit)
    quick = compared(of)
    rng = np.random.default_rng(seed + 1)  # rows that owe nothing to the ones of the comparison
    matrix = data(rng, 2000, wide, top, scale, 0.2)
    strange = np.array([0.0, -0.0, np.inf, -np.inf, 1e-36, -1e-36, -1.0, 0.5, 1e9, 2.0**31, 65536.0])
    at = rng.random(matrix.shape) < 0.1
    matrix[at] = rng.choice(strange, at.sum())
    at = rng.random(matrix.shape) < 0.3
    matrix[at] = np.nextafter(matrix[at], rng.choice([-np.inf, np.inf], at.sum()))
    wanted = slow(of)(matrix).view(np.int64)
    assert (quick(matrix).view(np.int64) == wanted).all()
    assert ([quick(row[None, :]).view(np.int64)[0] for row in matrix[:300]] == wanted[:300]).all()


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}, "random forest"),
        ({"linear_tree": True}, "linear"),
    ],
)
def test_models_that_it_does_not_know_stay_with_lightgbm(fit: dict[str, object], told: str) -> None:
    with pytest.raises(UnfitError, match=f"cannot load the model.*{told}"):
        compared(booster(2, **fit))


def test_every_threshold_is_asked_for_from_both_sides_by_a_row_that_reaches_it() -> None:
    """Against the trees of LightGBM's own dump, walked here."""
    of = booster(3, num_leaves=31)
    matrix = np.vstack(list(edges.rows(model_text.read(of.model_to_string().encode()), least=3000)))

    def walk(node: dict[str, Any], there: Matrix, path: dict[int, tuple[float, float]]) -> int:
        if "threshold" not in node:
            return 0
        feature, limit = node["split_feature"], node["threshold"]
        low, high = path.get(feature, (-np.inf, np.inf))
        values = there[:, feature]
        is_open = low < limit < high  # else this split only sends missing values another way
        if is_open:
            assert (values == limit).any(), "on the threshold"
            assert (values == np.nextafter(limit, np.inf)).any(), "the next number"
        goes_left = (values <= limit) | (np.isnan(values) & node["default_left"])
        left, right = (low, min(limit, high)), (max(limit, low), high)
        return (
            is_open
            + walk(node["left_child"], there[goes_left], {**path, feature: left})
            + walk(node["right_child"], there[~goes_left], {**path, feature: right})
        )

    assert sum(walk(tree["tree_structure"], matrix, {}) for tree in of.dump_model()["tree_info"]) > 300


@pytest.mark.slow
def test_rows_are_the_same_for_the_same_model_and_enough_for_every_one() -> None:
    for of in (booster(4), booster(4, num_leaves=2, min_data_in_leaf=10_000), booster(5, top=70)):
        text = model_text.read(of.model_to_string().encode())
        one, other = (np.vstack(list(edges.rows(text))) for _ in range(2))
        assert np.array_equal(one, other, equal_nan=True)
        assert len(one) >= 20_000


def nudged(text: str, name: str, change: Callable[[str], str], rng: np.random.Generator) -> str:
    """The model's text with one entry of a list changed, in some tree."""
    lines = [at for at in re.finditer(rf"^{name}=(.*)$", text, re.MULTILINE) if at[1].strip()]
    line = lines[rng.integers(len(lines))]
    parts = line[1].split(" ")
    at = int(rng.integers(len(parts)))
    parts[at] = change(parts[at])
    return text[: line.start(1)] + " ".join(parts) + text[line.end(1) :]


def differs_somewhere(one: str, other: str) -> bool:
    """Whether two texts are different models: by LightGBM, on training rows with each feature set to every number that
    either text has, its neighbours, and special values. Some faults change nothing, as nothing reaches them."""
    first, second = (lightgbm.Booster(model_str=text) for text in (one, other))
    rows = data(np.random.default_rng(99), 40, 4, 0, 1.0, 0.1)
    found = set()
    for text in (one, other):
        for at in re.finditer(r"^threshold=(.*)$", text, re.MULTILINE):
            found |= set(map(float, at[1].split()))
    limits = np.array(sorted(found))
    special = np.array([np.nan, 0.0, 1e-36, -1e-36, *range(42)])
    values = np.concatenate([limits, np.nextafter(limits, np.inf), np.nextafter(limits, -np.inf), special])
    for feature in range(4):
        matrix = np.repeat(rows, len(values), axis=0)
        matrix[:, feature] = np.tile(values, len(rows))
        if (slow(first)(matrix) != slow(second)(matrix)).any():
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "fit"),
    [
        ("threshold", lambda part: repr(float(np.nextafter(float(part), np.inf))), {}),
        ("threshold", lambda part: repr(float(np.nextafter(float(part), -np.inf))), {}),
        ("leaf_value", lambda part: repr(float(part) * (1 + 2**-40)), {}),
        ("decision_type", lambda part: str(int(part) ^ 2), {"missing": 0.3}),
        ("decision_type", lambda part: str(int(part) ^ 12), {"zero_as_missing": True, "scale": 1.0}),
        ("cat_threshold", lambda part: str(int(part) ^ 1), {"top": 40, "max_cat_to_onehot": 1}),
        ("split_feature", lambda part: str((int(part) + 1) % 4), {}),
    ],
)
def test_the_smallest_fault_of_a_predictor_is_found(
    name: str, change: Callable[[str], str], fit: dict[str, Any]
) -> None:
    of, rng, found = booster(6, **fit), np.random.default_rng(6), 0
    text = of.model_to_string()
    for _ in range(60):
        wrong = nudged(text, name, change, rng)
        try:
            check(model_text.read(text.encode()), wrong.encode(), slow(of))
        except UnfitError as why:
            found += "answers differ" in str(why)
        else:
            assert not differs_somewhere(text, wrong.replace("tree_sizes", "no_sizes"))
    assert found


@pytest.mark.slow
@pytest.mark.parametrize("first", [60_000, 70_000, 2_000_000])
def test_models_with_huge_categories_are_compared_or_left_in_good_time(first: int) -> None:
    rng = np.random.default_rng(9)
    matrix = np.column_stack([rng.normal(size=800), first + rng.integers(0, 50, 800)])
    labels = (matrix[:, 1] % 3 > 1).astype(int)
    fit = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_per_group": 1, "cat_smooth": 1.0}
    of = lightgbm.train(fit, lightgbm.Dataset(matrix, labels, categorical_feature=[1]), 1)
    begin = time.process_time()
    if first > edges.MOST_CATEGORIES:
        with pytest.raises(UnfitError, match="categories beyond 65536"):
            compared(of)
    else:
        compared(of)
    assert time.process_time() - begin < 20


def test_a_comparison_that_would_take_too_long_is_given_up() -> None:
    of = booster(7)
    model = of.model_to_string().encode()
    with pytest.raises(UnfitError, match="rows could be compared in 0 s"):
        check(model_text.read(model), model, slow(of), seconds=0)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    made = BundleStore(str(tmp_path / "store"), tmp_path / "cache", predictor="auto")
    made.put(GOOD)
    return made


ROWS = np.random.default_rng(8).normal(size=(50, 4))


@pytest.mark.slow
def test_a_bundle_comes_with_the_fast_predictor_and_explains_with_lightgbm(store: BundleStore) -> None:
    found = store.fetch(GOOD.digest)
    assert (found.predictor, GOOD.predictor) == (FAST, LIGHTGBM)
    assert found.score(ROWS).tobytes() == GOOD.score(ROWS).tobytes()
    assert found.contributions(ROWS).tobytes() == GOOD.contributions(ROWS).tobytes()
    assert found == GOOD


@pytest.mark.slow
def test_the_comparison_is_remembered_for_these_versions(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def noted(model: bytes, manifest: bytes, digest: str, compare: bool) -> Comparison | None:
        asked.append(compare)
        return prove(model, manifest, digest, compare)

    monkeypatch.setattr("scorer.bundles.store.prove", noted)
    plain = BundleStore(store.uri, store.cache)
    assert plain.fetch(GOOD.digest).predictor == LIGHTGBM
    for _ in range(2):
        assert store.fetch(GOOD.digest).predictor == FAST
    assert asked == [False, True], "by who wants it, once"
    assert plain.fetch(GOOD.digest).predictor == LIGHTGBM
    note = store.cache / f"{GOOD.digest}.predictor"
    for damage in (b"", b"\xff\xfe", note.read_bytes().replace(b"lightgbm", b"lightgbm 0")):
        note.write_bytes(damage)
        assert store.fetch(GOOD.digest).predictor == FAST
    assert asked == [False] + [True] * 4
    Notes(store.cache, GOOD.digest).compare("gave other answers")
    assert store.fetch(GOOD.digest).predictor == LIGHTGBM


def test_without_the_package_lightgbm_predicts_and_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorer.bundles.predictor.LIBRARIES", ("lightgbm", "no-such-package"))
    assert versions() is None
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache", predictor="auto")
    store.put(GOOD)
    assert store.fetch(GOOD.digest).predictor == LIGHTGBM
    assert not list(store.cache.glob("*.predictor"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("many", r"\d+ of \d+ answers differ \(first 0\.\d+, LightGBM 0\.\d+\)"),
        ("few", r"\d+ of \d+ answers differ"),
        ("dies", "the comparison ended with SIGABRT"),
        ("raises", r"cannot load the model \(no\)"),
        ("exhausts", "cannot load the model"),
        ("grows", r"takes 10\d MiB for the model, at most 64 are allowed"),
    ],
)
def test_a_predictor_that_goes_wrong_does_not_serve_and_the_bundle_does(
    store: BundleStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    told: str,
) -> None:
    monkeypatch.setenv("MISPREDICT", fault)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'faults' / 'injected' / 'mispredicting'}:{ROOT}")
    with caplog.at_level(logging.WARNING):
        found = store.fetch(GOOD.digest)
    assert found.predictor == LIGHTGBM
    assert found.score(ROWS).tobytes() == GOOD.score(ROWS).tobytes()
    assert re.search(f"bundle {GOOD.digest[:12]}: LightGBM predicts, as pylignum {told}", caplog.text)
    monkeypatch.delenv("PYTHONPATH")
    assert store.fetch(GOOD.digest).predictor == LIGHTGBM, "it is remembered"


@pytest.mark.slow
def test_a_predictor_that_hangs_does_not_hold_up_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISPREDICT", "hangs")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'faults' / 'injected' / 'mispredicting'}:{ROOT}")
    why = prove(GOOD.model, GOOD.manifest_bytes, GOOD.digest, compare=True, seconds=15)
    assert why == Comparison("the comparison was not done after 15 s", is_final=False)


def test_what_a_busy_machine_left_undone_is_tried_again(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Comparison("the comparison was not done after 60 s", is_final=False), Comparison(None)]
    monkeypatch.setattr("scorer.bundles.store.prove", lambda *_, **__: found.pop(0))
    assert [store.fetch(GOOD.digest).predictor for _ in range(3)] == [LIGHTGBM, FAST, FAST]


@pytest.mark.parametrize("missing", ["memfd_create", "import"])
def test_a_machine_on_which_it_cannot_be_loaded_has_lightgbm(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    Notes(store.cache, GOOD.digest).compare(None)
    Notes(store.cache, GOOD.digest).prove()

    def refused(name: str) -> int:
        raise OSError("not permitted")

    if missing == "import":
        monkeypatch.setitem(sys.modules, "lignum", None)
    else:
        monkeypatch.setattr("os.memfd_create", refused)
    assert store.fetch(GOOD.digest).predictor == LIGHTGBM


@pytest.mark.slow
def test_a_predictor_that_loads_in_the_child_alone_leaves_it_to_lightgbm(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.fetch(GOOD.digest).predictor == FAST

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("lignum.load", broken)
    assert store.fetch(GOOD.digest).predictor == LIGHTGBM
    assert "LightGBM predicts, as pylignum cannot load the model (no memory)" in caplog.text
