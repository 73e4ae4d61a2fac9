"""Counts what a shadow has written to Redis in its metrics, and remembers how far each partition lags."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from scorer.streaming.fetch import Batch
from shadow import metrics
from shadow.comparison.increment import Increment
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import ALL, ERRORS


class Counting:
    """The metrics of one slot. segments: names, in the order of the rows of a tally."""

    def __init__(self, slot: str, segments: Sequence[str]) -> None:
        self._slot, self._everything = slot, segments.index(ALL)
        self._lag: dict[int, int] = {}

    def took(self, batch: Batch) -> None:
        """Count a batch that was read."""
        metrics.BATCH_RECORDS.labels(self._slot).observe(len(batch))
        metrics.DECISIONS.labels(self._slot).inc(len(batch))

    def applied(self, increment: Increment, batches: Sequence[Batch], end: int | None) -> None:
        """Count an increment that is in Redis now. batches: what it sums, all of one partition. end: the offset after
        the partition's last record, None if unknown."""
        slot = self._slot
        for sums in increment.tallies.values():
            for outcome in Outcome:
                metrics.COMPARED.labels(slot, outcome.key).inc(int(sums[self._everything, outcome]))
            metrics.ERRORS.labels(slot).inc(int(sums[self._everything, ERRORS]))
        for counters in increment.counters.values():
            metrics.DUPLICATES.labels(slot).inc(counters["duplicates"])
            metrics.CONFLICTS.labels(slot).inc(counters["conflicts"])
        for scores in increment.scores:
            metrics.SCORES.observe(scores, slot)
        metrics.SKIPPED.labels(slot).inc(increment.skipped)
        metrics.UNREADABLE.labels(slot).inc(increment.unreadable)
        now = time.time()
        for batch in batches:
            stamps = np.array([record.timestamp for record in batch.records], dtype=np.float64)
            metrics.DELAY.observe(now - stamps[stamps > 0] / 1000.0, slot)
        last = batches[-1]
        self._lag[last.partition] = max(0, (end or last.next) - last.next)
        metrics.LAG.labels(slot, str(last.partition)).set(self._lag[last.partition])

    def is_behind(self, partitions: Sequence[int], records: int) -> bool:
        """Whether any of these partitions lags by more than `records` records."""
        return any(self._lag.get(partition, 0) > records for partition in partitions)
