"""Pairs live's verdicts with a candidate's on the same snapshots: four outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Outcome(IntEnum):
    """What live and a candidate decide on one transaction. The value is its position in arrays that count outcomes."""

    BOTH_ALLOW = 0
    BOTH_BLOCK = 1
    LIVE_ONLY = 2
    CANDIDATE_ONLY = 3

    @property
    def key(self) -> str:
        """The name in JSON, metrics and queries, such as `both_allow`."""
        return self.name.lower()

    @property
    def is_disagreement(self) -> bool:
        """Whether only one of the two models blocks."""
        return self >= Outcome.LIVE_ONLY


#: The outcomes in which only one model blocks, in the column order of arrays that count discordant pairs.
DISAGREEMENTS = (Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY)


@dataclass(frozen=True, slots=True)
class PairedOutcome:
    """Verdicts on the same n transactions, in source order: bool (n,), True is block.

    usable: bool (n,), False where the candidate's score is not a probability; such a row is a candidate error.
    """

    live: npt.NDArray[np.bool_]
    candidate: npt.NDArray[np.bool_]
    usable: npt.NDArray[np.bool_]

    @property
    def codes(self) -> npt.NDArray[np.int64]:
        """The `Outcome` of each pair: int64 (n,)."""
        same = np.where(self.live, Outcome.BOTH_BLOCK, Outcome.BOTH_ALLOW)
        apart = np.where(self.live, Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY)
        return np.where(self.live == self.candidate, same, apart).astype(np.int64)


def compare(live: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], threshold: float) -> PairedOutcome:
    """Pair each live verdict with the candidate's.

    live: bool (n,). scores: float64 (n,), the candidate's probabilities of fraud in the order of `live`.
    threshold: probability; a score equal to it blocks, as in the scorer. Raises ValueError if the lengths differ.
    Source: the paired two-by-two table of McNemar (1947).

    >>> compare(np.array([True, False]), np.array([0.2, 0.9]), 0.5).codes.tolist()
    [2, 3]
    """
    if live.shape != scores.shape:
        raise ValueError(f"{scores.size} scores for {live.size} decisions; expected one for each")
    return PairedOutcome(live=live, candidate=scores >= threshold, usable=(scores >= 0) & (scores <= 1))
