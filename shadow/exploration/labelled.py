"""What reviews say of the cases of a run, to be looked up by the hash of the transaction id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadow.exploration.table import LABELS


@dataclass(frozen=True, eq=False)
class Labelled:
    """The states of cases. hashes: float64 (n,), ascending. states: int64 (n,), positions in `LABELS`."""

    hashes: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    states: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, states: Mapping[float, str]) -> Labelled:
        """From the state of each case, by its hash."""
        hashes = sorted(states)
        return cls(np.array(hashes, dtype=np.float64), np.array([LABELS.index(states[h]) for h in hashes], np.int64))

    def codes(self, hashes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The state of each sample, by the hash of its transaction id: 0 for one that is no case."""
        if not len(self.hashes):
            return np.zeros(len(hashes), dtype=np.int64)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, self.states[at], 0)
