"""Comparisons of which a test states the columns that matter to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from shadow.comparison.comparisons import Comparisons
from shadow.comparison.totals import Run


def comparisons(n: int, **columns: Any) -> Comparisons:
    """n of them: of run L1-C1, in hour 0 and segment 0, agreed allowances of nothing at score 0 unless stated."""
    nothing, unscored = np.zeros(n, dtype=np.int64), np.zeros(n)
    given: dict[str, Any] = {
        "runs": [Run(1, 1)],
        "run_of": nothing,
        "hours": nothing,
        "segments": nothing.reshape(n, 1),
        "outcomes": nothing,
        "blocks": np.zeros(n, dtype=bool),
        "minor": nothing,
        "live_scores": unscored,
        "scores": unscored,
        "usable": np.ones(n, dtype=bool),
    }
    return Comparisons(**given | columns)
