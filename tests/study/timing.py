"""How long a look takes: 50 segments, 28 days of hourly sums."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from shadow.claims import Sums
from shadow.criteria import parse
from shadow.gate import judge
from shadow.measure import Progress, measure
from shadow.tally import Run, RunTotals, SegmentTotals
from study.model import HOURS

VALUES = ", ".join(f"v{i}" for i in range(48))
RELEASE = parse(f"schema: 1\nsegments:\n  part: {{field: part, values: [{VALUES}]}}\n")
CAP = RELEASE.cap_minor(100.0)


def _path(rng: np.random.Generator) -> Sums:
    n = len(RELEASE.segments.names)
    hourly = rng.poisson([2000, 20, 2, 2], (HOURS, n, 4))
    hourly[:, 0] = hourly[:, 1:].sum(axis=1)
    counts = hourly.cumsum(axis=0).astype(np.float64)
    squares = counts[..., 2:] * 200**2
    return Sums(counts, counts[..., 1:] * CAP / 5, squares, counts[..., 2:] // 1.3, np.zeros((HOURS, n)))


def _totals(path: Sums) -> RunTotals:
    fields = ("counts", "capped", "squares", "pairs")
    parts = {
        name: SegmentTotals(**{field: getattr(path, field)[-1, at].astype(np.int64) for field in fields})
        for at, name in enumerate(RELEASE.segments.names)
    }
    return RunTotals(Run(1, 1), parts, HOURS)


def timing() -> dict[str, float]:
    """Medians of five: gate_ms, one look with all its reasons, from hourly sums; path_ms, 672 looks in one call."""
    rng = np.random.default_rng(0)
    candidate, control = _path(rng), _path(rng)
    progress = Progress(np.arange(1, HOURS + 1), np.zeros(HOURS, np.int64), np.zeros(HOURS, np.int64))

    def one_look() -> None:
        judge(_totals(candidate), _totals(control), RELEASE)

    def path() -> None:
        measure(candidate, control, candidate, progress, RELEASE, CAP)

    def timed(call: object) -> float:
        started = time.perf_counter()
        call()  # type: ignore[operator]
        return (time.perf_counter() - started) * 1000

    return {
        "gate_ms": round(median(timed(one_look) for _ in range(5)), 1),
        "path_ms": round(median(timed(path) for _ in range(5)), 1),
    }
