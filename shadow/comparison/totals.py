"""What a comparison adds up to: the four outcomes per run, hour and segment, as frozen integer sums.

Scores are added up by day: see `shadow.histogram`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from shadow.bins import ALLOWED, BINS, BLOCKED, KINDS, LIVE, Counts
from shadow.clean import CleanPeriod, Reset, clean_period

HOUR_MS = 3_600_000
#: Outcomes of a paired comparison, in the order of every array that counts them.
OUTCOMES = ("both_allow", "both_block", "live_only", "candidate_only")
#: The segment that holds every transaction.
ALL = "all"


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
        """The run that `str` wrote. Raises ValueError for any other text."""
        live, candidate = text.split("-")
        if live[:1] != "L" or candidate[:1] != "C":
            raise ValueError(f"{text!r} is not a run; expected L<epoch>-C<epoch>")
        return cls(int(live[1:]), int(candidate[1:]))


@dataclass(frozen=True, slots=True)
class SegmentTotals:
    """Sums over the transactions of one segment.

    counts, minor: int64 (4,), transactions and money (minor units of the reporting currency) by outcome.
    capped: int64 (3,), money with each amount cut at a cap: both_block, live_only, candidate_only.
    squares: int64 (2,), squares of the cut amounts, each in thousandths of the cap: live_only, candidate_only.
    pairs: int64 (2,), discordant pairs counted once per card and day: live_only, candidate_only.
    errors: transactions that the candidate could not score; they are in no other sum.
    scores: int64 (KINDS, BINS), histograms of scores as `shadow.bins` has them; of a single hour there are none.
    """

    counts: Counts = field(default_factory=lambda: _zeros(4))
    minor: Counts = field(default_factory=lambda: _zeros(4))
    capped: Counts = field(default_factory=lambda: _zeros(3))
    squares: Counts = field(default_factory=lambda: _zeros(2))
    pairs: Counts = field(default_factory=lambda: _zeros(2))
    scores: Counts = field(default_factory=lambda: np.zeros((len(KINDS), BINS), dtype=np.int64))
    errors: int = 0

    @property
    def compared(self) -> int:
        """Transactions that both models decided."""
        return int(self.counts.sum())

    @property
    def live_scores(self) -> Counts:
        """Histogram of live's scores: int64 (BINS,)."""
        return np.asarray(self.scores[LIVE])

    @property
    def candidate_scores(self) -> Counts:
        """Histogram of the candidate's scores: int64 (BINS,)."""
        return np.asarray(self.scores[ALLOWED] + self.scores[BLOCKED])

    @property
    def columns(self) -> Counts:
        """All sums but the pairs and the scores, as a row of a tally: int64 (COLUMNS,)."""
        return np.concatenate([self.counts, self.minor, self.capped, self.squares, [self.errors]])


@dataclass(frozen=True, slots=True)
class RunTotals:
    """Everything known about one run of one slot, summed over partitions.

    segments: by name, `ALL` among them. hours: how many event hours have at least one comparison; covered: which they
    are, since 1970. resets: of the clean period, within the run; begun: what ended the run before it.
    view: the feature view of its last decisions.
    compared + errors + duplicates + repeats = decisions of the run that the slot has read. `errors` are decisions that
    the candidate could not score; `conflicts` are second decisions for an offset with another score under one epoch;
    `gap` is the number of decisions of the slot that retention took before they were read.
    """

    run: Run
    segments: dict[str, SegmentTotals]
    hours: int
    errors: int = 0
    duplicates: int = 0
    repeats: int = 0
    conflicts: int = 0
    gap: int = 0
    covered: tuple[int, ...] = ()
    resets: tuple[Reset, ...] = ()
    begun: tuple[str, ...] = ()
    live_digest: str = ""
    candidate_digest: str = ""
    view: str = ""

    def clean(self, needed: int) -> CleanPeriod:
        """The clean period; all hours count as clean if it is not known which they are."""
        return clean_period(self.covered or range(self.hours), self.resets, needed, self.begun)

    @property
    def compared(self) -> int:
        return self.segments[ALL].compared if ALL in self.segments else 0


#: Hour of transactions that are dated too far from the time they were scored at.
LATE = -1
#: Day of the same.
LATE_DAY = -1
BEHIND_MS, AHEAD_MS = 48 * HOUR_MS, 5 * 60_000
#: Where the kinds of sums lie in a tally.
COUNTS, MINOR, CAPPED, SQUARES = slice(0, 4), slice(4, 8), slice(8, 11), slice(11, 13)
ERRORS = 13
COLUMNS = ERRORS + 1
#: Squares of amounts are summed in this part of the cap, so that they stay small integers.
CAP_PARTS = 1000


def event_hours(occurred_ms: Counts, scored_ms: Counts) -> Counts:
    """Hours since 1970 by the transactions' own time, LATE where that is not within 48 h before and 5 min after the
    time they were scored at: int64 (n,)."""
    fits = (occurred_ms >= scored_ms - BEHIND_MS) & (occurred_ms <= scored_ms + AHEAD_MS)
    return np.where(fits, occurred_ms // HOUR_MS, LATE)


def event_days(hours: Counts) -> Counts:
    """The event day of each event hour, LATE_DAY for LATE: int64, of the same shape."""
    return np.where(hours >= 0, hours // 24, LATE_DAY)


#: Sums by run and hour: int64 (segments, COLUMNS), rows in the order of `Segments.names`.
Tallies = dict[tuple[Run, int], Counts]


def tally(
    runs: list[Run],
    run_of: Counts,
    hours: Counts,
    segments: Counts,
    codes: Counts,
    minor: Counts,
    usable: npt.NDArray[np.bool_],
    n_segments: int,
    cap_minor: int,
) -> Tallies:
    """Sum n comparisons. A row that is not usable only counts as an error.

    runs, run_of: the runs there are and each row's position among them. hours: from `event_hours`. segments: int64
    (n, d), from `Segments.assign`. codes: outcomes. All of n rows; order does not matter. cap_minor: above 0, where
    amounts are cut for the sums `capped` and `squares`.
    """
    out: Tallies = {}
    if not len(codes):
        return out
    groups, group_of = np.unique(np.stack([run_of, hours], axis=1), axis=0, return_inverse=True)
    sums = np.zeros((len(groups), n_segments, COLUMNS), dtype=np.int64)
    group = np.broadcast_to(group_of.reshape(-1, 1), segments.shape)
    np.add.at(sums, (group, segments, np.where(usable, codes, ERRORS)[:, None]), 1)
    np.add.at(sums, (group[usable], segments[usable], MINOR.start + codes[usable, None]), minor[usable, None])
    capped = np.minimum(minor, cap_minor)
    for first, least, amounts in (
        (CAPPED.start - 1, 1, capped),
        (SQUARES.start - 2, 2, (-(-capped * CAP_PARTS // cap_minor)) ** 2),
    ):
        has = usable & (codes >= least)
        np.add.at(sums, (group[has], segments[has], first + codes[has, None]), amounts[has, None])
    for at, (run, hour) in enumerate(groups.tolist()):
        out[runs[run], hour] = sums[at]
    return out


_Key = TypeVar("_Key")


def merge(into: dict[_Key, Counts], more: dict[_Key, Counts]) -> None:
    """Add sums to sums, in place."""
    for key, counts in more.items():
        into[key] = into[key] + counts if key in into else counts
