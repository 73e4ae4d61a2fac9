"""The same transactions in the samples of two candidates, and those that the two decide differently.

Both keep what has the smallest hashes of its transaction ids, so a transaction is kept by both with the smaller of the
two probabilities: samples of one hash are coordinated. Source: Cohen and Kaplan (2007), "Summarizing data using
bottom-k sketches".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadow.comparison.outcome import Outcome
from shadow.exploration.estimate import Estimate, count
from shadow.exploration.table import Bools, Floats, Rows, Table

_BLOCKS = [int(Outcome.BOTH_BLOCK), int(Outcome.CANDIDATE_ONLY)]


@dataclass(frozen=True)
class Pairing:
    """Transactions that both tables have. ours, theirs: int64 (n,), rows of the one and the other. chances: float64
    (n,), with which both kept each. only_ours, only_theirs: those that one candidate alone blocks."""

    one: Table
    other: Table
    ours: Rows
    theirs: Rows
    chances: Floats
    only_ours: Bools
    only_theirs: Bools

    @property
    def differ(self) -> Bools:
        """Those that the two candidates decide differently."""
        return self.only_ours | self.only_theirs

    def count(self, mask: Bools) -> Estimate:
        """The transactions of the whole stream that some of them stand for."""
        return count(self.chances[mask])

    def money(self, mask: Bools) -> float:
        """Their money, in minor units."""
        return float((self.one.entries["minor"][self.ours[mask]] / self.chances[mask]).sum())

    def farthest(self, most: int) -> Rows:
        """Those that they decide differently, the scores farthest apart first: positions in `ours`."""
        at = np.flatnonzero(self.differ)
        apart = np.abs(self.one.columns.scores[self.ours[at]] - self.other.columns.scores[self.theirs[at]])
        hashes = self.one.entries["hash"][self.ours[at]]
        return at[np.lexsort((hashes, -np.nan_to_num(apart)))][:most]

    def by_segment(self) -> list[tuple[str, Estimate, Estimate]]:
        """Of each segment, how many transactions one alone blocks, and the other; the most first, empty ones out."""
        found = []
        for segment in self.one.segments:
            inside = self.one.has(segment)[self.ours]
            sides = self.count(inside & self.only_ours), self.count(inside & self.only_theirs)
            if sides[0].samples + sides[1].samples:
                found.append((segment, *sides))
        return sorted(found, key=lambda row: (-(row[1].value + row[2].value), row[0]))


def paired(one: Table, other: Table) -> Pairing:
    """The transactions that two tables have in common."""
    _, ours, theirs = np.intersect1d(one.entries["hash"], other.entries["hash"], return_indices=True)
    blocks = [np.isin(t.entries["kind"][rows], _BLOCKS) for t, rows in ((one, ours), (other, theirs))]
    return Pairing(
        one,
        other,
        ours.astype(np.int64),
        theirs.astype(np.int64),
        np.minimum(one.chances[ours], other.chances[theirs]),
        blocks[0] & ~blocks[1],
        blocks[1] & ~blocks[0],
    )
