"""LightGBM's predict beside the predictor that serves, in turn on the same rows."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from bench.floor import bundle
from bench.workload import READING, VIEW, Workload, transactions
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history

#: Rows of a call, as a busy scorer makes them, and calls of each of the two.
ROWS, CALLS = 250, 200


def speedup(folder: Path, work: Workload, rows: int = ROWS, calls: int = CALLS) -> float:
    """How many times as fast as LightGBM the live bundle scores so many rows in a call: the median of calls in turn.

    Raises AssertionError if a score differs by a bit.
    """
    slow, quick = bundle(folder, work.digest, "lightgbm"), bundle(folder, work.digest, "auto")
    _, sample = transactions(rows * calls, seed=5)
    matrix = history(VIEW, decode(sample, READING).events)
    ratios = []
    for part in np.array_split(matrix, calls):
        begin = time.perf_counter()
        wanted = slow.score(part)
        middle = time.perf_counter()
        found = quick.score(part)
        ratios.append((middle - begin) / (time.perf_counter() - middle))
        assert found.tobytes() == wanted.tobytes(), f"{quick.predictor} gives other scores than LightGBM"
    return statistics.median(ratios)
