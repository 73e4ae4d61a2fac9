"""Bundles, and a stack with live deployed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import models as shared
from harness.models import Models
from harness.stack import Stack


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return shared.make(tmp_path_factory.mktemp("models"))


@pytest.fixture
def stack(models: Models, tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, dict(models.env)) as made:
        made.deploy(models.live, "live")
        yield made
