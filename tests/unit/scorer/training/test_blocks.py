"""Rows of a matrix that come some at a time: all are there, in order, and in memory once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from scorer.training.blocks import Blocks


@pytest.mark.parametrize("sizes", [[], [0], [1], [3], [2, 1, 0, 7, 5], [9, 9]])
def test_all_rows_come_out_in_order_however_they_came(sizes: list[int]) -> None:
    rows = np.random.default_rng(1).random((sum(sizes), 2))
    blocks = Blocks(2, block_bytes=3 * 16)
    at = 0
    for size in sizes:
        blocks.add(rows[at : at + size])
        at += size
    assert blocks.joined().tobytes() == rows.tobytes()
    assert blocks.joined().shape == (0, 2)


_JOINS = """
import resource, numpy as np
from scorer.training.blocks import Blocks
blocks, part = Blocks(20), np.ones((20_000, 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(100):
    blocks.add(part.copy())
matrix = blocks.joined()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / matrix.nbytes)
"""


def test_a_matrix_is_in_memory_once_while_it_is_joined() -> None:
    done = subprocess.run([sys.executable, "-c", _JOINS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.6
