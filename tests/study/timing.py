"""How long a look takes: 50 segments, 28 days of hourly sums."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from shadow.comparison.bins import BINS, FEATURE_BINS, KINDS
from shadow.comparison.totals import CAP_PARTS, CELLS, MONEY_SUMS, MONEY_TOPS, ONE_OF, Run, RunTotals, SegmentTotals
from shadow.gate.criteria import parse
from shadow.gate.drift import Windows, drift_between
from shadow.gate.judge import judge
from shadow.gate.matched import matched
from shadow.gate.measure import RunProgress, measure
from shadow.gate.sums import Sums
from study.model import HOURS

VALUES = ", ".join(f"v{i}" for i in range(48))
RELEASE = parse(f"schema: 1\nsegments:\n  part: {{field: part, values: [{VALUES}]}}\n")
CAP = RELEASE.cap_minor(100.0)


def _path(rng: np.random.Generator) -> Sums:
    n = len(RELEASE.segments.names)
    hourly = rng.poisson([2000, 20, 2, 2], (HOURS, n, 4))
    hourly[:, 0] = hourly[:, 1:].sum(axis=1)
    counts = hourly.cumsum(axis=0).astype(np.float64)
    cells = np.zeros((HOURS, n, CELLS))
    cells[..., ONE_OF] = counts[..., 1:] // 1.3
    money, tops = np.ones((HOURS, n, 2, MONEY_SUMS)), np.full((HOURS, n, 2, MONEY_TOPS), float(CAP_PARTS))
    for column, weight in enumerate((0, 200, 200, 4e4, -2e4, 4e4, -2e4, 4e4, 20, 4e3, 4e3)):
        money[..., column] = (cells.sum(axis=-1) * weight)[..., None]
    return Sums(counts, counts[..., 1:] * CAP / 5, cells, money, tops, np.zeros((HOURS, n)))


def _totals(path: Sums) -> RunTotals:
    fields = ("counts", "capped", "cells", "money", "tops")
    parts = {
        name: SegmentTotals(**{field: getattr(path, field)[-1, at].astype(np.int64) for field in fields})
        for at, name in enumerate(RELEASE.segments.names)
    }
    return RunTotals(Run(1, 1), parts, HOURS)


def _histograms(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Scores of days like those of the path."""
    return rng.poisson(3, (*shape, len(KINDS), BINS))


def timing() -> dict[str, float]:
    """Medians of five: gate_ms, one look with its reasons, the second view and drift; path_ms, 672 looks at once."""
    rng = np.random.default_rng(0)
    candidate, control = _path(rng), _path(rng)
    progress = RunProgress(np.arange(1, HOURS + 1), np.zeros(HOURS, np.int64), np.zeros(HOURS, np.int64))

    n, features = len(RELEASE.segments.names), 40
    windows = [_histograms(rng, n) for _ in range(4)]
    scores, snapshots = _histograms(rng, 2, 8, 7), rng.poisson(3, (2, 8, 7, features, FEATURE_BINS))
    days, names = tuple(range(7)), [f"f{at}" for at in range(features)]

    def one_look() -> None:
        ours, theirs = _totals(candidate), _totals(control)
        sums = [Sums.of(totals, RELEASE.segments.names) for totals in (ours, theirs)]
        second = matched(windows[0], windows[1], sums[0], RELEASE, days, 0.5, (windows[2], windows[3], sums[1]))
        changed = drift_between(
            scores, snapshots, names, Windows(days, days), 0.01, windows[0][0], windows[1][0], 0.005
        )
        judge(ours, theirs, RELEASE, matched=second, drift=changed)

    def path() -> None:
        measure(candidate, control, progress, RELEASE)

    def timed(call: object) -> float:
        started = time.perf_counter()
        call()  # type: ignore[operator]
        return (time.perf_counter() - started) * 1000

    return {
        "gate_ms": round(median(timed(one_look) for _ in range(5)), 1),
        "path_ms": round(median(timed(path) for _ in range(5)), 1),
    }
