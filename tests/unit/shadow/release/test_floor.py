"""Only a seed twin of live gives the A/A floor, and what is wrong with any other control is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.bundles import FEATURES, TEXT, VIEW
from scorer.bundles.bundle import create
from scorer.bundles.store import BundleStore
from scorer.deployments.slots import Deployments, Slot
from shadow.release.floor import why_no_floor
from shadow.settings import ShadowSettings

TRAINING = {
    "fingerprint": "f" * 64,
    "rows": 10,
    "frauds": 2,
    "first": "2026-01-01T00:00:00Z",
    "last": "2026-01-02T00:00:00Z",
}


def told(folder: Path, control: dict[str, Any] | None, **live: Any) -> str | None:
    """Why there is no floor, with a control that was trained so."""
    settings = ShadowSettings(store=str(folder / "store"), cache=folder / "cache")
    (folder / "store").mkdir()
    store, slots = BundleStore(settings.store, settings.cache), {}
    for name, known in (("live", {"training": TRAINING, "parameters": {"seed": 1}} | live), ("control", control)):
        if known is not None:
            bundle = create(TEXT, FEATURES, VIEW, 0.25, **known)
            slots[name] = Slot(1, store.put(bundle), 0.25)
    return asyncio.run(why_no_floor(settings, Deployments(slots=slots)))


def test_a_seed_twin_of_live_gives_the_floor(tmp_path: Path) -> None:
    assert told(tmp_path, {"training": TRAINING, "parameters": {"seed": 2}}) is None


@pytest.mark.parametrize(
    ("control", "why"),
    [
        ({"training": TRAINING | {"fingerprint": "e" * 64}, "parameters": {"seed": 2}}, "trained on other data"),
        ({"training": TRAINING, "parameters": {"seed": 2, "num_leaves": 7}}, "another num_leaves"),
        ({"training": TRAINING, "parameters": {"seed": 1}, "note": "a copy"}, "the same seed"),
        ({"note": "from elsewhere"}, "trained elsewhere"),
    ],
)
def test_any_other_control_is_not_a_twin_of_live(tmp_path: Path, control: dict[str, Any], why: str) -> None:
    said = told(tmp_path, control)
    assert said is not None
    assert "not a twin of live" in said
    assert why in said
    assert "scorer train FILE --twin" in said


def test_an_empty_control_is_told_apart(tmp_path: Path) -> None:
    said = told(tmp_path, None)
    assert said is not None
    assert said.startswith("No A/A control")
