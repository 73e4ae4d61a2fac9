"""A simulated history as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.histories import columns
from scorer.sources.files import write_table


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "history.parquet"
    write_table(path, columns())
    return path
