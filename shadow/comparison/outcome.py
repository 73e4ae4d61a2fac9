"""Pairs live verdicts with what a candidate would have said on the same snapshots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class PairedOutcome:
    """Verdicts on the same n transactions, in source order: bool (n,), True is block.

    usable: bool (n,), False where the candidate's score is no probability; such a row is a candidate error.
    """

    live: npt.NDArray[np.bool_]
    candidate: npt.NDArray[np.bool_]
    usable: npt.NDArray[np.bool_]

    @property
    def codes(self) -> npt.NDArray[np.int64]:
        """Position of each outcome in `shadow.tally.OUTCOMES`: int64 (n,)."""
        same = np.where(self.live, 1, 0)
        return np.where(self.live == self.candidate, same, np.where(self.live, 2, 3)).astype(np.int64)


def compare(live: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], threshold: float) -> PairedOutcome:
    """Pair each live verdict with the candidate's.

    live: bool (n,). scores: float64 (n,), the candidate's probabilities of fraud in the order of `live`.
    threshold: probability; a score equal to it blocks, as in the scorer. Raises ValueError when lengths differ.
    Source: the paired two-by-two table of McNemar (1947).

    >>> compare(np.array([True, False]), np.array([0.2, 0.9]), 0.5).codes.tolist()
    [2, 3]
    """
    if live.shape != scores.shape:
        raise ValueError(f"{scores.size} scores for {live.size} decisions; score the whole batch")
    return PairedOutcome(live=live, candidate=scores >= threshold, usable=(scores >= 0) & (scores <= 1))
