"""What a recount of a partition adds up to: sums of whole runs, and what each card has counted for. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from shadow.comparison.bins import BINS, KINDS
from shadow.comparison.card_days import CardDay, DaySums, count
from shadow.comparison.increment import Increment
from shadow.comparison.totals import COLUMNS, Run


class Counted:
    """The sums of one partition, by run.

    tallies: int64 (S, COLUMNS). scores: int64 (S, KINDS, BINS). days: sums over card-days. S: segments. Memory grows
    with the card-days on which somebody blocks, and with nothing else.
    """

    def __init__(self, segments: int) -> None:
        self._segments = segments
        self.tallies: dict[Run, Any] = defaultdict(lambda: np.zeros((segments, COLUMNS), dtype=np.int64))
        self.scores: dict[Run, Any] = defaultdict(lambda: np.zeros((segments, len(KINDS), BINS), dtype=np.int64))
        self.days: dict[Run, DaySums] = defaultdict(lambda: DaySums.of(segments))
        self.counters: dict[Run, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.skipped, self.unreadable = 0, 0
        self._states: dict[CardDay, bytes] = {}

    def add(self, more: Increment) -> None:
        """Add the sums of a later batch."""
        for (run, _), counts in more.tallies.items():
            self.tallies[run] += counts
        for (run, _), histograms in more.histograms.items():
            self.scores[run] += histograms
        changes, states = count(more.blocked, self._states, self._segments)
        self._states |= states
        for (run, _), change in changes.items():
            self.days[run] = self.days[run].with_more(change)
        for run, counters in more.counters.items():
            for name, number in counters.items():
                self.counters[run][name] += number
        self.skipped += more.skipped
        self.unreadable += more.unreadable
