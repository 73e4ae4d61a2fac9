"""What a comparison adds up to: the four outcomes per run, hour and segment, as frozen integer sums."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

#: Outcomes of a paired comparison, in the order of every array that counts them.
OUTCOMES = ("both_allow", "both_block", "live_only", "candidate_only")
#: Number of score bins; see `score_bins`.
BINS = 32
#: The segment that holds every transaction.
ALL = "all"

Counts = npt.NDArray[np.int64]


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
    pairs: int64 (2,), discordant pairs counted once per card and day: live_only, candidate_only.
    live_scores, candidate_scores: int64 (BINS,), histograms of the two scores.
    """

    counts: Counts = field(default_factory=lambda: _zeros(4))
    minor: Counts = field(default_factory=lambda: _zeros(4))
    pairs: Counts = field(default_factory=lambda: _zeros(2))
    live_scores: Counts = field(default_factory=lambda: _zeros(BINS))
    candidate_scores: Counts = field(default_factory=lambda: _zeros(BINS))

    @property
    def compared(self) -> int:
        """Transactions that both models decided."""
        return int(self.counts.sum())


@dataclass(frozen=True, slots=True)
class RunTotals:
    """Everything known about one run of one slot, summed over partitions.

    segments: by name, `ALL` among them. hours: event hours in which at least one transaction was compared.
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
    live_digest: str = ""
    candidate_digest: str = ""

    @property
    def compared(self) -> int:
        return self.segments[ALL].compared if ALL in self.segments else 0
