"""Remembers recent scores, to tell a harmless duplicate from a conflicting decision."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scorer.pipeline.batch import Scores
from shadow.comparison.decisions import Decisions
from shadow.comparison.sources import Sources

#: Decisions that are remembered of each partition.
REMEMBERED = 20_000


@dataclass
class Memory:
    """The scores and epochs of a partition's recent decisions. sources: which source offsets are decided."""

    sources: Sources = field(default_factory=Sources)
    _kept: deque[Remembered] = field(default_factory=deque)
    _n: int = 0

    def duplicates(self, decisions: Decisions) -> npt.NDArray[np.bool_]:
        """Which decisions are on a transaction that was decided before, in this batch or earlier: bool (n,).

        From now on the decisions' transactions count as decided.
        """
        return self.sources.add(decisions.sources)

    def conflicts(self, decisions: Decisions, at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The positions of duplicates that differ in score from the first decision, under the same epoch: int64 (k,).

        at: positions of duplicates. If the first decision is forgotten, the first one in this batch stands for it.
        """
        first: dict[int, tuple[float, int]] = {}
        for columns in (*self._kept, columns_of(decisions)):
            for source, score, epoch in zip(*(column.tolist() for column in columns), strict=True):
                first.setdefault(source, (score, epoch))
        bad = []
        for i in at.tolist():
            score, epoch = first[int(decisions.sources[i])]
            mine = float(decisions.scores[i])
            if epoch == decisions.epochs[i] and score != mine and not (np.isnan(score) and np.isnan(mine)):
                bad.append(i)
        return np.array(bad, dtype=np.int64)

    def copy(self) -> Memory:
        """The same memory, which stays as it is now."""
        return Memory(self.sources.copy(), self._kept.copy(), self._n)

    def restore(self, before: Memory) -> None:
        """Become what a copy was."""
        self.sources, self._kept, self._n = before.sources.copy(), before._kept.copy(), before._n

    def remember(self, decisions: Decisions) -> None:
        """Remember scores. The oldest batch is forgotten once younger ones hold REMEMBERED decisions."""
        if not len(decisions):
            return
        self._kept.append(columns_of(decisions))
        self._n += len(decisions)
        while self._n - len(self._kept[0][0]) >= REMEMBERED:
            self._n -= len(self._kept.popleft()[0])


#: Sources, scores and epochs of a batch.
Remembered = tuple[npt.NDArray[np.int64], Scores, npt.NDArray[np.int64]]


def columns_of(decisions: Decisions) -> Remembered:
    return decisions.sources, decisions.scores, decisions.epochs
