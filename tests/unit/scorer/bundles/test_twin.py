"""Twins differ in the seed of their training and in nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scorer.bundles.manifest import Manifest
from scorer.bundles.twin import why_not_twin

FIELDS: dict[str, Any] = {
    "features": ["amount", "hour"],
    "view": {"name": "v", "id": "v1", "features": {"amount": {"kind": "event"}, "hour": {"kind": "event"}}},
    "threshold": 0.5,
    "training": {"fingerprint": "f", "rows": 10, "frauds": 2, "first": "2026-01-01", "last": "2026-01-02"},
    "code_version": "1",
    "parameters": {"num_leaves": 31, "learning_rate": 0.05, "seed": 1},
    "libraries": {},
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def a_manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"schema": 1, **FIELDS, **more})


TWIN = a_manifest(parameters=FIELDS["parameters"] | {"seed": 2}, threshold=0.4, note="made later", parent="a" * 64)


def test_another_seed_makes_a_twin_whatever_the_threshold() -> None:
    assert why_not_twin(a_manifest(), TWIN) is None
    assert why_not_twin(TWIN, a_manifest()) is None


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"parameters": FIELDS["parameters"]}, "the same seed"),
        ({"parameters": {"num_leaves": 63, "learning_rate": 0.1, "seed": 2}}, "another learning_rate, num_leaves"),
        ({"parameters": {"learning_rate": 0.05, "seed": 2}}, "another num_leaves"),
        ({"parameters": {}}, "trained elsewhere"),
        ({"training": None}, "trained elsewhere"),
        ({"training": FIELDS["training"] | {"fingerprint": "g"}}, "other data"),
        ({"training": FIELDS["training"] | {"labels_known_by": "2026-01-01"}}, "other data"),
        ({"features": ["hour", "amount"]}, "other features"),
        (
            {"view": FIELDS["view"] | {"features": {"amount": {"kind": "x"}, "hour": {"kind": "event"}}}},
            "other features",
        ),
    ],
)
def test_everything_else_must_be_equal(more: dict[str, Any], told: str) -> None:
    other = a_manifest(**{"parameters": FIELDS["parameters"] | {"seed": 2}, **more})
    for pair in ((a_manifest(), other), (other, a_manifest())):
        assert told in str(why_not_twin(*pair))


def test_a_bundle_is_not_its_own_twin() -> None:
    assert why_not_twin(TWIN, TWIN) == "it was trained with the same seed"
