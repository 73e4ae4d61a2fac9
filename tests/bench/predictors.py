"""LightGBM's predict beside the predictor that serves, on the same rows.

A worker has one of them, call after call, so each has some calls in a row before the other's turn. Call by call, each
would push the other's trees out of the processor's caches, which costs the faster one a larger share.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from bench.floor import bundle
from bench.workload import READING, VIEW, Workload, transactions
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history

#: Rows of a call, as a busy scorer makes them; calls of each of the two, and how many of these are one turn.
ROWS, CALLS, IN_A_ROW = 250, 400, 10


def speedup(folder: Path, work: Workload, rows: int = ROWS, calls: int = CALLS) -> float:
    """How many times as fast as LightGBM the live bundle scores so many rows in a call: the median of turns.

    Raises AssertionError if a score differs by a bit.
    """
    slow, quick = bundle(folder, work.digest, "lightgbm"), bundle(folder, work.digest, "auto")
    _, sample = transactions(rows * calls, seed=5)
    parts = np.array_split(history(VIEW, decode(sample, READING).events), calls)
    ratios = []
    for start in range(0, calls, IN_A_ROW):
        turn = parts[start : start + IN_A_ROW]
        begin = time.perf_counter()
        wanted = [slow.score(part) for part in turn]
        middle = time.perf_counter()
        found = [quick.score(part) for part in turn]
        ratios.append((middle - begin) / (time.perf_counter() - middle))
        same = np.concatenate(found).tobytes() == np.concatenate(wanted).tobytes()
        assert same, f"{quick.predictor} gives other scores than LightGBM"
    return statistics.median(ratios)
