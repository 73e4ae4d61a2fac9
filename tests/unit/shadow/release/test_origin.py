"""What a bundle's manifest says of how it was made is read from the store, and so is that it says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.bundles import FEATURES, TEXT, VIEW
from scorer.bundles.bundle import create
from scorer.bundles.store import BundleStore
from shadow.gate.origin import Origin
from shadow.release.origin import NOT_TOLD, origin_in_store
from shadow.settings import ShadowSettings

PART = {"transactions": 10, "frauds": 2, "first": "2026-01-01T00:00:00Z", "last": "2026-01-02T00:00:00Z"}
LINEAGE: dict[str, Any] = {
    "recipe": {"features": FEATURES},
    "split": {"fit": PART, "calibration": PART, "test": PART},
    "data": {"transactions": 30, "first": PART["first"], "last": PART["last"], "content": {}},
    "reading": {"mapping": {}, "mapping_digest": "", "files": {}, "money": {}, "rates_digest": ""},
}
COMMIT = "c" * 40


@pytest.mark.parametrize(
    ("code", "doubt"),
    [
        ({"commit": COMMIT, "dirty": False}, None),
        ({"commit": COMMIT, "dirty": True}, "it was trained with changes that commit cccccccccccc has not"),
        ({}, "it was trained outside of a repository"),
        (None, NOT_TOLD),
    ],
)
def test_a_manifest_says_what_made_its_model(tmp_path: Path, code: dict[str, Any] | None, doubt: str | None) -> None:
    known = {} if code is None else {"lineage": {**LINEAGE, "code": code}}
    settings = ShadowSettings(store=str(tmp_path), cache=tmp_path / "cache")
    digest = BundleStore(settings.store, settings.cache).put(create(TEXT, FEATURES, VIEW, 0.25, **known))
    assert origin_in_store(settings, digest) == Origin(doubt)


def test_a_bundle_that_is_not_there_is_known_again_once_it_is(tmp_path: Path) -> None:
    settings = ShadowSettings(store=str(tmp_path / "store"), cache=tmp_path / "cache")
    (tmp_path / "store").mkdir()
    bundle = create(TEXT, FEATURES, VIEW, 0.25, note="another")
    missing = origin_in_store(settings, bundle.digest)
    assert not missing.is_clean
    assert missing.trouble is not None
    assert "\n" not in missing.trouble
    BundleStore(settings.store, settings.cache).put(bundle)
    assert origin_in_store(settings, bundle.digest) == Origin(NOT_TOLD), "an error was remembered"
