"""Bundles say what they are and refuse to be anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bundles import BOOSTER, BUNDLE, FEATURES, REGRESSION, TEXT, VIEW
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.manifest import MANIFEST, digest_of
from scorer.bundles.model_text import MODEL
from scorer.errors import BundleError
from scorer.pipeline.view import Attribute, FeatureView


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
    with pytest.raises(BundleError, match="its content was changed"):
        Bundle.load(folder, BUNDLE.digest)
    (folder / part).unlink()
    with pytest.raises(BundleError, match=f"{part}: No such file"):
        Bundle.load(folder, BUNDLE.digest)


@pytest.mark.parametrize(
    ("model", "features", "threshold", "told"),
    [
        (b"PK\x03\x04", FEATURES, 0.5, "a zip archive"),
        (TEXT[:200], FEATURES, 0.5, "damaged, save it"),
        (TEXT, ("age", "amount"), 0.5, "2 names, expected 3"),
        (TEXT, ("age", "amount", "height"), 0.5, "features: height is not in feature view"),
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


def test_columns_follow_the_view_and_a_changed_definition_is_refused() -> None:
    wider = FeatureView(name="w", attributes=(Attribute(name="x", kind="boolean"), *VIEW.attributes))
    assert [wider.names[at] for at in BUNDLE.columns(wider)] == list(FEATURES)
    assert [VIEW.names[at] for at in BUNDLE.columns(VIEW)] == list(FEATURES)
    with pytest.raises(BundleError, match="age is not in the feature view"):
        BUNDLE.columns(FeatureView(name="v"))
    changed = FeatureView(name="v", attributes=(Attribute(name="age", kind="category", values=("old",)),))
    with pytest.raises(BundleError, match="age has another definition"):
        BUNDLE.columns(changed)


# --- the store ---


def test_a_manifest_without_a_definition_is_refused() -> None:
    manifest: dict[str, Any] = orjson.loads(BUNDLE.manifest_bytes)
    del manifest["view"]["features"]["age"]
    with pytest.raises(BundleError, match="no definition of feature age"):
        Bundle.read(BUNDLE.model, orjson.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.read(BUNDLE.model, b"{}")


@pytest.mark.slow
def test_lightgbm_is_loaded_without_what_nobody_uses_and_hides_it_from_no_other() -> None:
    said = (
        "import sys; from scorer.bundles.bundle import library; library();"
        "print(sorted({'sklearn', 'pandas'} & set(sys.modules)));"
        "import pandas, sklearn; print(pandas.DataFrame({'a': [1]}).a.sum())"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().splitlines() == ["[]", "1"]
