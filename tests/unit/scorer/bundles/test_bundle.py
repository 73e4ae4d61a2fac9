"""Bundles say what they are and refuse to be anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.bundle import MANIFEST, MODEL, Bundle, create, digest_of, model_features
from scorer.errors import BundleError
from scorer.store import BundleStore
from scorer.view import Attribute, FeatureView

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


def test_a_bundle_scores_as_its_model_does() -> None:
    matrix = np.random.default_rng(2).normal(size=(50, 3))
    matrix[3, 1] = np.nan
    assert BUNDLE.score(matrix).tolist() == BOOSTER.predict(matrix).tolist()
    assert BUNDLE.score(np.empty((0, 3))).shape == (0,)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_a_score_is_the_same_however_the_rows_are_cut(sizes: list[int]) -> None:
    matrix = np.random.default_rng(3).normal(size=(sum(sizes), 3))
    parts = np.split(matrix, np.cumsum(sizes)[:-1])
    assert np.concatenate([BUNDLE.score(part) for part in parts]).tolist() == BUNDLE.score(matrix).tolist()


def test_a_bundle_is_written_and_read_back_with_its_record(tmp_path: Path) -> None:
    folder = BUNDLE.write(tmp_path)
    assert folder.name == BUNDLE.digest == digest_of((folder / MODEL).read_bytes(), (folder / MANIFEST).read_bytes())
    found = Bundle.load(folder, BUNDLE.digest)
    assert found.manifest == BUNDLE.manifest
    assert (found.features, found.threshold, found.manifest.note) == (FEATURES, 0.25, "a remark")
    assert found.manifest.view.id == VIEW.id
    assert found.manifest.libraries["lightgbm"] == lightgbm.__version__
    assert BUNDLE.write(tmp_path) == folder, "writing it again changes nothing"
    assert [entry.name for entry in tmp_path.iterdir()] == [BUNDLE.digest], "a draft is left"


def test_two_bundles_may_share_a_model_and_differ_in_the_threshold() -> None:
    other = create(TEXT, FEATURES, VIEW, 0.5, created_at=BUNDLE.manifest.created_at, note="a remark")
    assert other.model == BUNDLE.model
    assert other.digest != BUNDLE.digest


@pytest.mark.parametrize("part", [MODEL, MANIFEST])
def test_a_changed_or_missing_part_is_refused(part: str, tmp_path: Path) -> None:
    folder = BUNDLE.write(tmp_path)
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content.replace(b"a", b"b", 1))
    with pytest.raises(BundleError, match="it was changed"):
        Bundle.load(folder, BUNDLE.digest)
    (folder / part).unlink()
    with pytest.raises(BundleError, match=f"{part}: No such file"):
        Bundle.load(folder, BUNDLE.digest)


@pytest.mark.parametrize(
    ("model", "features", "threshold", "told"),
    [
        (b"PK\x03\x04", FEATURES, 0.5, "is not a LightGBM text model"),
        (TEXT[:200], FEATURES, 0.5, "cannot read it"),
        (TEXT, ("age", "amount"), 0.5, "2 names for a model of 3 features"),
        (TEXT, ("age", "amount", "height"), 0.5, "features: height is not in view"),
        (TEXT, FEATURES, 1.5, "threshold"),
        (REGRESSION, FEATURES, 0.5, "train with objective binary"),
    ],
)
def test_a_model_that_cannot_be_wrapped_names_what_is_wrong(
    model: bytes, features: tuple[str, ...], threshold: float, told: str
) -> None:
    with pytest.raises(BundleError, match=told) as error:
        create(model, features, VIEW, threshold)
    assert "\n" not in str(error.value)


def test_names_of_a_model_are_read() -> None:
    assert model_features(TEXT) == ("a", "b", "c")


def test_columns_follow_the_view_and_a_changed_definition_is_refused() -> None:
    wider = FeatureView(name="w", attributes=(Attribute(name="x", kind="boolean"), *VIEW.attributes))
    assert [wider.names[at] for at in BUNDLE.columns(wider)] == list(FEATURES)
    assert [VIEW.names[at] for at in BUNDLE.columns(VIEW)] == list(FEATURES)
    with pytest.raises(BundleError, match="age is not in the view"):
        BUNDLE.columns(FeatureView(name="v"))
    changed = FeatureView(name="v", attributes=(Attribute(name="age", kind="category", values=("old",)),))
    with pytest.raises(BundleError, match="age is defined otherwise"):
        BUNDLE.columns(changed)


# --- the store ---


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    uri = str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}"
    return BundleStore(uri, tmp_path / "cache")


def test_what_is_put_is_fetched_once_and_cached(store: BundleStore) -> None:
    with pytest.raises(BundleError, match="is not there"):
        store.fetch(BUNDLE.digest)
    assert store.cached() == []
    store.put(BUNDLE)
    assert store.fetch(BUNDLE.digest).manifest == BUNDLE.manifest
    assert store.cached() == [BUNDLE.digest]
    elsewhere = BundleStore("memory://nothing-here", store.cache)
    assert elsewhere.fetch(BUNDLE.digest).digest == BUNDLE.digest, "the store is not needed any more"


def test_a_damaged_copy_is_fetched_again(store: BundleStore) -> None:
    store.put(BUNDLE)
    store.fetch(BUNDLE.digest)
    (store.cache / BUNDLE.digest / MODEL).write_bytes(b"tree\nnonsense")
    assert store.fetch(BUNDLE.digest).model == BUNDLE.model
    assert (store.cache / BUNDLE.digest / MODEL).read_bytes() == BUNDLE.model


def test_a_bundle_is_fetched_where_no_copy_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "full").write_text("a file where the folder of copies is to be")
    store = BundleStore(str(tmp_path / "store"), tmp_path / "full")
    store.put(BUNDLE)
    assert store.fetch(BUNDLE.digest) == BUNDLE
    assert "cannot keep a copy" in caplog.text


def test_a_few_digits_are_enough_if_they_are_one_bundles(store: BundleStore) -> None:
    store.put(BUNDLE)
    assert store.resolve(BUNDLE.digest[:8]) == BUNDLE.digest
    assert store.resolve("0" * 64) == "0" * 64, "a whole digest needs no look"
    for name, told in ((BUNDLE.digest[:7], "at least 8 digits"), ("nonsense", "neither"), ("0" * 8, "no such digests")):
        with pytest.raises(BundleError, match=told):
            store.resolve(name)


def test_a_store_of_a_kind_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="install what it needs"):
        BundleStore("nosuch://bucket", tmp_path).put(BUNDLE)


def test_a_manifest_without_a_definition_is_refused() -> None:
    manifest: dict[str, Any] = orjson.loads(BUNDLE.manifest_bytes)
    del manifest["view"]["features"]["age"]
    with pytest.raises(BundleError, match="no definition of feature age"):
        Bundle.read(BUNDLE.model, orjson.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.read(BUNDLE.model, b"{}")
