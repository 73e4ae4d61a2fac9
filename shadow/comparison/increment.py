"""The sums of a range of one partition's decisions, held in memory until Redis has them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadow.comparison.card_days import Blocked
from shadow.comparison.histograms import Histograms, Snapshots
from shadow.comparison.sampling import Stratum
from shadow.comparison.tally import Tallies, merge
from shadow.comparison.totals import Run


@dataclass(frozen=True, slots=True)
class Offered:
    """A sample or a case, encoded, offered to some strata.

    source: source offset. value: hash of its transaction id. entry: of a sample, its entry in the index.
    """

    source: int
    value: float
    body: bytes
    strata: list[Stratum]
    entry: bytes = b""


@dataclass
class Increment:
    """The sums of the decisions [from, to) of a partition, which the store applies in one step."""

    tallies: Tallies = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=dict)
    blocked: list[Blocked] = field(default_factory=list)
    samples: list[Offered] = field(default_factory=list)
    counters: dict[Run, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    meta: dict[Run, dict[str, str]] = field(default_factory=dict)  # texts of a run, kept as first seen
    marks: dict[Run, dict[str, str]] = field(default_factory=dict)  # by cause; a changed text resets the clean period
    reach: dict[Run, int] = field(default_factory=dict)  # offset on `decisions` after each run's last
    scores: list[npt.NDArray[np.float64]] = field(default_factory=list)  # the candidate's, for the metrics
    skipped: int = 0
    unreadable: int = 0
    source: int = -1
    decided: str = ""  # `Sources.text` after the last decision


def add(into: Increment, more: Increment) -> None:
    """Add the sums of a later batch of the partition, in place."""
    merge(into.tallies, more.tallies)
    merge(into.histograms, more.histograms)
    merge(into.snapshots, more.snapshots)
    into.blocked += more.blocked
    into.samples += more.samples
    into.scores += more.scores
    for run, counters in more.counters.items():
        for name, count in counters.items():
            into.counters[run][name] += count
    for run, texts in more.meta.items():
        into.meta.setdefault(run, texts)
    for run, marks in more.marks.items():
        into.marks[run] = into.marks.get(run, {}) | marks
    into.reach |= more.reach
    into.skipped += more.skipped
    into.unreadable += more.unreadable
    into.source = max(into.source, more.source)
    into.decided = more.decided or into.decided
