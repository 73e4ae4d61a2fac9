"""The tables of settings and metrics say what the code declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.places import ROOT

RENDER = ROOT / "docs" / "render.py"


def test_tables_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(RENDER), "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("page", ["settings.md", "metrics.md"])
def test_a_stale_table_is_told(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text()
    (tmp_path / "render.py").write_bytes(RENDER.read_bytes())
    for name in ("settings.md", "metrics.md"):
        (tmp_path / name).write_bytes((ROOT / "docs" / name).read_bytes())
    lines = text.splitlines(keepends=True)
    (tmp_path / page).write_text("".join(lines[:-1]))
    done = subprocess.run([sys.executable, str(tmp_path / "render.py"), "--check"], capture_output=True, check=False)
    assert done.returncode == 1
    assert page in done.stderr.decode()
