"""The memory that a process may use is its container's limit, else the machine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scorer.process.memory import memory_limit

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("two", "one", "expected"),
    [
        ("104857600\n", None, 104_857_600),
        ("max\n", "5", MACHINE),
        (None, "104857600\n", 104_857_600),
        (None, "9223372036854771712\n", MACHINE),
        (None, None, MACHINE),
    ],
)
def test_the_limit_is_what_the_container_may_use(
    tmp_path: Path, two: str | None, one: str | None, expected: int
) -> None:
    files = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    for file, text in zip(files, (two, one), strict=True):
        if text is not None:
            file.write_text(text)
    assert memory_limit(files) == expected
