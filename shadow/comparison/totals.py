"""The sums of a run: one candidate epoch against one live epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from shadow.comparison.bins import ALLOWED, BINS, BLOCKED, KINDS, LIVE, Counts
from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import Reset

#: The segment that holds every transaction.
ALL = "all"


#: Event hour and event day of transactions that are dated too far from the time of scoring.
LATE = LATE_DAY = -1
#: Columns of a tally.
COUNTS, MINOR, CAPPED = slice(0, 4), slice(4, 8), slice(8, 11)
ERRORS = 11
COLUMNS = ERRORS + 1

#: Kinds of card-days, by what was blocked on them: bit 1 for both_block, 2 for live_only, 4 for candidate_only. Kind 0
#: is not counted.
CELLS = 8
#: The bits of each kind: int64 (CELLS, 3).
OF_CELL: Counts = np.stack([np.arange(CELLS) >> at & 1 for at in range(3)], axis=1)
#: The kinds with one bit.
ONE_OF = [1, 2, 4]
#: Money of card-days is counted in parts of the cap, so that squares stay small integers.
CAP_PARTS = 1000
#: What a card-day may weigh in whole money, in parts: squares of it are exact in Lua, and thousands fit in 63 bits.
HEAVIEST_PARTS = 2**24
#: Caps that live's money on a card-day counts for at most where more of it would speak for a candidate.
HELD_CAPS = 64
#: Sums of money over card-days: the candidate's alone less live's alone (net), live's (base), live's up to HELD_CAPS
#: (held), and the products net * net, net * base, base * base, net * held, held * held; then what live alone blocks,
#: its square, and the square of what the candidate alone blocks.
MONEY_SUMS = 11
#: The most money of any card-day: of the candidate's alone, of live's alone, and of live's.
MONEY_TOPS = 3
#: Columns of the sums over card-days: kinds, then money cut at the cap and whole.
MONEY = slice(CELLS, CELLS + 2 * MONEY_SUMS)
DAY_SUMS, DAY_TOPS = MONEY.stop, 2 * MONEY_TOPS


def _zeros(n: int) -> Counts:
    return np.zeros(n, dtype=np.int64)


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """One candidate epoch against one live epoch, as stamped on the decisions."""

    live_epoch: int
    candidate_epoch: int

    def __str__(self) -> str:
        return f"L{self.live_epoch}-C{self.candidate_epoch}"

    @classmethod
    def parse(cls, text: str) -> Run:
        """Read a run that `str` wrote. Raises ValueError for any other text."""
        match = re.fullmatch(r"L(\d+)-C(\d+)", text)
        if match is None:
            raise ValueError(f"{text!r} is not a run; expected L<epoch>-C<epoch>, such as L3-C5")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class SegmentTotals:
    """Sums over the transactions of one segment.

    counts, minor: int64 (4,), transactions and money (minor units of the reporting currency) by outcome.
    capped: int64 (3,), money with each amount capped: both_block, live_only, candidate_only.
    cells: int64 (CELLS,), card-days by what was blocked on them, see `CELLS`.
    money: int64 (2, MONEY_SUMS), sums over card-days of money, that of a card-day cut at the cap, and whole.
    tops: int64 (2, MONEY_TOPS), the heaviest card-days of each.
    scores: int64 (KINDS, BINS), histograms of scores.
    The sums of a single hour have no card-days and no scores: these are counted by day.
    errors: transactions that the candidate could not score; they are in no other sum.
    """

    counts: Counts = field(default_factory=lambda: _zeros(4))
    minor: Counts = field(default_factory=lambda: _zeros(4))
    capped: Counts = field(default_factory=lambda: _zeros(3))
    cells: Counts = field(default_factory=lambda: _zeros(CELLS))
    money: Counts = field(default_factory=lambda: np.zeros((2, MONEY_SUMS), dtype=np.int64))
    tops: Counts = field(default_factory=lambda: np.zeros((2, MONEY_TOPS), dtype=np.int64))
    scores: Counts = field(default_factory=lambda: np.zeros((len(KINDS), BINS), dtype=np.int64))
    errors: int = 0

    @property
    def compared(self) -> int:
        """Transactions that both models decided."""
        return int(self.counts.sum())

    @property
    def live_blocks(self) -> int:
        """Transactions that live blocks."""
        return int(self.counts[Outcome.BOTH_BLOCK] + self.counts[Outcome.LIVE_ONLY])

    @property
    def live_scores(self) -> Counts:
        """Histogram of live's scores: int64 (BINS,)."""
        return np.asarray(self.scores[LIVE])

    @property
    def candidate_scores(self) -> Counts:
        """Histogram of the candidate's scores: int64 (BINS,)."""
        return np.asarray(self.scores[ALLOWED] + self.scores[BLOCKED])

    @property
    def pairs(self) -> Counts:
        """Card-days on which live alone blocks something, and on which the candidate alone does: int64 (2,)."""
        return np.asarray(self.cells @ OF_CELL[:, 1:])

    @property
    def columns(self) -> Counts:
        """The sums over transactions, without the scores, as a row of a tally: int64 (COLUMNS,)."""
        return np.concatenate([self.counts, self.minor, self.capped, [self.errors]])

    @property
    def day_columns(self) -> Counts:
        """The sums over card-days, as in `DAY_SUMS`: int64 (DAY_SUMS,)."""
        return np.concatenate([self.cells, self.money.ravel()])


@dataclass(frozen=True, slots=True)
class RunTotals:
    """Everything known about one run of one slot, summed over partitions.

    segments: by name, `ALL` among them. hours: number of event hours with at least one comparison. covered: these
    hours, since 1970. resets: restarts of the clean period within the run. begun: why the run replaced the one before.
    view: the feature view of its last decisions.
    compared + errors + duplicates + repeats + refunds = decisions of the run that the slot has read. errors: decisions
    that the candidate could not score. conflicts: second decisions on a source offset with another score under the same
    epoch. gap: decisions of the slot that retention deleted before they were read.
    """

    run: Run
    segments: dict[str, SegmentTotals]
    hours: int
    errors: int = 0
    duplicates: int = 0
    repeats: int = 0
    refunds: int = 0
    conflicts: int = 0
    gap: int = 0
    covered: tuple[int, ...] = ()
    resets: tuple[Reset, ...] = ()
    begun: tuple[str, ...] = ()
    live_digest: str = ""
    candidate_digest: str = ""
    view: str = ""

    @property
    def compared(self) -> int:
        return self.segments[ALL].compared if ALL in self.segments else 0


def event_days(hours: Counts) -> Counts:
    """The event day of each event hour, LATE_DAY for LATE: int64, of the same shape."""
    return np.where(hours >= 0, hours // 24, LATE_DAY)


def event_day(hour: int) -> int:
    """The same of a single hour, without numpy."""
    return hour // 24 if hour >= 0 else LATE_DAY
