"""Prints how many series `shadow serve` exports with 50 segments, 40 features, 3 slots and their control, as
docs/metrics.md states it."""

from __future__ import annotations

import numpy as np
from prometheus_client import generate_latest

from harness.totals import part
from shadow import metrics
from shadow.comparison.bins import BINS, KINDS
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.criteria import parse
from shadow.gate.drift import Drift, DriftLook
from shadow.gate.judge import judge
from shadow.gate.matched import matched
from shadow.gate.sums import Sums
from shadow.release.look import Labels, Look
from shadow.serve import gauges

SEGMENTS = 50


def main() -> None:
    """Show three looks at a run."""
    declared = "schema: 1\nsegments: {country: {field: country, values: [%s]}}\n"
    rest = len(parse(declared % "c").segments.names) - 1
    release = parse(declared % ", ".join(f"c{i}" for i in range(SEGMENTS - rest)))
    names = release.segments.names
    assert len(names) == SEGMENTS
    blocked = part(9000, 500, 100, 100)
    totals = RunTotals(Run(1, 1), dict.fromkeys(names, blocked), hours=10)
    scores = np.ones((SEGMENTS, len(KINDS), BINS), dtype=np.int64)
    second = matched(scores, scores, Sums.of(totals, names), release, range(7))
    bounds = [(0.1, 0.0, 0.2)] * 2 + [()] * 40
    drift = DriftLook(None, tuple(Drift(f"{i}", 1, 1, 0.0, 0.1, 0.5, 1.0, *b) for i, b in enumerate(bounds)))
    for slot in ("candidate", "challenger", "third"):
        judgement = judge(totals, totals, release, matched=second, drift=drift)
        gauges.show(Look(slot, totals, totals, judgement, Labels((), (), ())))
        for gauge in (metrics.SLOT_EPOCH, metrics.UNREAD, metrics.RETENTION_USED):
            gauge.labels(slot).set(1)
    gauges.show_outcomes("control", totals)
    print(sum(not line.startswith(b"#") for line in generate_latest(metrics.SERVE_REGISTRY).splitlines()))


if __name__ == "__main__":
    main()
