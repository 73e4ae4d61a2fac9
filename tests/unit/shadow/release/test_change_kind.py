"""A change is of the kind that its manifests show: other data, another threshold, or another design."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scorer.bundles.manifest import Manifest
from scorer.deployments.slots import Slot
from shadow.release.change_kind import kind_of

FIELDS: dict[str, Any] = {
    "schema": 1,
    "features": ["amount", "hour"],
    "view": {"name": "v", "id": "v1", "features": {"amount": {"kind": "event"}, "hour": {"kind": "event"}}},
    "threshold": 0.5,
    "training": {"fingerprint": "f", "rows": 10, "frauds": 2, "first": "2026-01-01", "last": "2026-01-02"},
    "code_version": "1",
    "parameters": {"num_leaves": 31, "seed": 1},
    "libraries": {},
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}
LIVE, OTHER = Slot(1, "a" * 64, 0.5), Slot(1, "b" * 64, 0.4)


def a_manifest(**more: Any) -> Manifest:
    return Manifest.model_validate(FIELDS | more)


NEWER = FIELDS["training"] | {"fingerprint": "g", "last": "2026-02-02"}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"training": NEWER}, "retrain"),
        ({"training": NEWER, "parameters": {"num_leaves": 31, "seed": 7}, "threshold": 0.4}, "retrain"),
        ({"training": NEWER, "parameters": {"num_leaves": 63, "seed": 1}}, "design"),
        ({"features": ["amount"]}, "design"),
        ({"features": ["hour", "amount"]}, "design"),
        ({"view": FIELDS["view"] | {"features": {"amount": {"kind": "x"}, "hour": {"kind": "event"}}}}, "design"),
        ({"training": None}, None),
    ],
)
def test_the_manifests_tell(more: dict[str, Any], kind: str | None) -> None:
    assert kind_of(LIVE, OTHER, a_manifest(), a_manifest(**more)) == kind


def test_the_same_bundle_is_another_threshold_whatever_is_known_of_it() -> None:
    assert kind_of(LIVE, Slot(3, "a" * 64, 0.3), None, None) == "threshold"


def test_of_what_nobody_knows_nothing_is_said() -> None:
    assert kind_of(LIVE, OTHER, a_manifest(), None) is None
    assert kind_of(LIVE, OTHER, None, a_manifest()) is None
    assert kind_of(Slot(), OTHER, a_manifest(), a_manifest()) is None
