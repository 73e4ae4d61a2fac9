"""What a range of one partition's decisions adds up to, until it is in Redis."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shadow.histogram import Histograms, Snapshots
from shadow.samples import Stratum
from shadow.tally import Run, Tallies, merge


@dataclass(frozen=True, slots=True)
class Pair:
    """A discordant pair: counted if it is the card's first that day. card: a hash. segments: positions."""

    run: Run
    day: int
    hour: int
    card: str
    live_only: bool
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A comparison offered as a sample to some strata, by source offset and hash of its transaction id."""

    source: int
    value: float
    body: bytes
    strata: list[Stratum]


@dataclass
class Advance:
    """What the decisions [from, to) of a partition add up to, in memory until it is applied."""

    tallies: Tallies = field(default_factory=dict)
    histograms: Histograms = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    counters: dict[Run, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    meta: dict[Run, dict[str, str]] = field(default_factory=dict)  # texts that stay as first seen
    marks: dict[Run, dict[str, str]] = field(default_factory=dict)  # by cause; a change resets the clean period
    reach: dict[Run, int] = field(default_factory=dict)  # offset after each run's last decision
    scores: list[npt.NDArray[np.float64]] = field(default_factory=list)  # the candidate's, for the metrics
    skipped: int = 0
    unreadable: int = 0
    source: int = -1


def add(into: Advance, more: Advance) -> None:
    """Add what a later batch of the partition adds up to, in place."""
    merge(into.tallies, more.tallies)
    merge(into.histograms, more.histograms)
    merge(into.snapshots, more.snapshots)
    into.pairs += more.pairs
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
