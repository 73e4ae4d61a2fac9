"""A batch of comparisons as columns, from which tallies, histograms and samples are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadow.comparison.bins import Counts
from shadow.comparison.totals import Run, event_days


@dataclass(frozen=True, slots=True)
class Comparisons:
    """n comparisons, in source order.

    runs: the distinct runs. run_of: int64 (n,), the position of each row's run in `runs`. hours: int64 (n,), event
    hours since 1970. segments: int64 (n, d), positions in `Segments.names`. outcomes: int64 (n,), values of `Outcome`.
    blocks: bool (n,), whether live blocks. minor: int64 (n,), minor units of the reporting currency. live_scores,
    scores: float64 (n,), live's (NaN under an override) and the candidate's. usable: bool (n,), False where the
    candidate has no score; such a row only counts as an error.
    """

    runs: Sequence[Run]
    run_of: Counts
    hours: Counts
    segments: Counts
    outcomes: Counts
    blocks: npt.NDArray[np.bool_]
    minor: Counts
    live_scores: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    usable: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def days(self) -> Counts:
        """Event days since 1970, LATE_DAY for late ones: int64 (n,)."""
        return event_days(self.hours)
