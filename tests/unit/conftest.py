"""Units see no settings of the environment."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("SCORER_", "SHADOW_")):
            monkeypatch.delenv(name)
