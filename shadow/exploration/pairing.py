"""The same transactions in the samples of two candidates, and those that the two decide differently.

Both keep what has the smallest hashes of its transaction ids, so a transaction is kept by both with the smaller of the
two probabilities: samples of one hash are coordinated. Source: Cohen and Kaplan (2007), "Summarizing data using
bottom-k sketches".

What one candidate decides as live does is kept seldom, so few pairs show where the other one differs alone. But given
live's decision, two candidates decide differently where exactly one of them disagrees with live. How often each does is
counted exactly, and where both do is in the samples of both, which keep disagreements. See `Counted`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import SegmentTotals
from shadow.exploration.estimate import Estimate, count
from shadow.exploration.table import Bools, Floats, Rows, Table

_LIVE, _CANDIDATE = int(Outcome.LIVE_ONLY), int(Outcome.CANDIDATE_ONLY)
#: Share of what was counted by which samples may miss it: what came between reading the one and the other.
_TIMES_OF_READING = 0.01
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

    def counted(self, mine: SegmentTotals, others: SegmentTotals, segment: str | None = None) -> Counted:
        """The same from what was counted exactly of both. mine, others: the sums of the segment, or of all traffic."""
        inside = np.ones(len(self.ours), dtype=bool) if segment is None else self.one.has(segment)[self.ours]
        kinds = self.one.entries["kind"][self.ours], self.other.entries["kind"][self.theirs]
        both = inside & (kinds[0] == kinds[1]) & ((kinds[0] == _LIVE) | (kinds[0] == _CANDIDATE))
        shared, money = self.count(both), self.money(both)
        seen = [int((inside & side).sum()) for side in (self.only_ours, self.only_theirs)]
        counts, minor = [], []
        for first, second in ((mine, others), (others, mine)):
            counts.append(int(first.counts[_CANDIDATE] + second.counts[_LIVE]))
            minor.append(float(first.minor[_CANDIDATE] + second.minor[_LIVE]))
        return Counted(
            _less(sum(counts), shared, 2, sum(seen)),
            (_less(counts[0], shared, 1, seen[0]), _less(counts[1], shared, 1, seen[1])),
            (max(0.0, minor[0] - money), max(0.0, minor[1] - money)),
        )

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


@dataclass(frozen=True, slots=True)
class Counted:
    """Transactions that two candidates decide differently, those that each blocks alone, and their money, in minor
    units."""

    differ: Estimate
    sides: tuple[Estimate, Estimate]
    money: tuple[float, float]


def _less(known: int, shared: Estimate, times: int, seen: int) -> Estimate:
    """What is left of a known number without what is shared: at least what was seen."""
    value, low, high = (max(known - times * part, seen) for part in (shared.value, shared.high, shared.low))
    return Estimate(float(value), times * shared.error, float(low), float(high), shared.samples + seen)


def stands_for_all(table: Table, whole: SegmentTotals) -> bool:
    """Whether the samples of a run stand for all that was counted, and none has expired."""
    found = count(table.chances[table.is_disagreement])
    truth = int(whole.counts[_LIVE] + whole.counts[_CANDIDATE])
    return abs(found.value - truth) <= 4 * found.error + _TIMES_OF_READING * truth + 1


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
