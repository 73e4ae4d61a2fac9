"""Buffers counts of batches and adds them to the metrics at scrape time, which is cheaper than after each batch."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer import metrics
from scorer.pipeline.batch import Scores, Settled

#: Transactions after which the buffer is emptied anyway, for a worker that nobody scrapes.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Noted:
    """What the metrics need of a batch of one partition. done_s: when it was acknowledged, in seconds since 1970.

    counts: transactions read, repeats, miskeyed, untrusted, refunds, without merchant risk. explored: would-be blocks
    drawn, released, and the minor units of these.
    """

    bundle: str
    done_s: float
    scores: Scores
    blocks: npt.NDArray[np.bool_]
    appended_ms: npt.NDArray[np.int64]
    fields: Sequence[str]
    skipped: Sequence[str]
    failed: Sequence[str]
    counts: tuple[int, int, int, int, int, int]
    explored: tuple[int, int, int]


class Counting:
    """Acknowledged batches that are not in the metrics yet.

    Call `note` from one thread only: it waits for a scrape only when the buffer is full. Call `show` from any thread.
    minor_per_unit: minor units in one unit of the reporting currency.
    """

    def __init__(self, minor_per_unit: float = 100.0) -> None:
        self._minor_per_unit = minor_per_unit
        self._noted: deque[_Noted] = deque()
        self._lock = threading.Lock()
        self._read = self._shown = 0  # transactions; `note` alone changes the first, `show` the second

    def note(self, settled: Settled, read: int, bundle: str, done_s: float) -> None:
        """Buffer an acknowledged batch. read: its records. bundle: first 12 digits of the digest that decided it.

        done_s: when it was acknowledged, in seconds since 1970.
        """
        counts = read, settled.repeats, settled.miskeyed, settled.untrusted, settled.refunds, settled.riskless
        explored = settled.drawn, settled.released, settled.released_minor
        columns = settled.scores, settled.blocks, settled.appended_ms, settled.fields, settled.skipped, settled.failed
        self._noted.append(_Noted(bundle, done_s, *columns, counts, explored))
        self._read += read
        if self._read - self._shown >= MOST:
            self.show()

    def show(self) -> None:
        """Add the buffered batches to the metrics."""
        with self._lock:
            noted = [self._noted.popleft() for _ in range(len(self._noted))]
            if noted:
                self._shown += _show(noted, self._minor_per_unit)


def _show(noted: Sequence[_Noted], minor_per_unit: float) -> int:
    """Add batches to the metrics; returns how many transactions they hold."""
    columns = zip(*(one.counts for one in noted), strict=True)
    read, repeats, miskeyed, untrusted, refunds, riskless = (int(sum(column)) for column in columns)
    metrics.TRANSACTIONS.inc(read)
    metrics.REPEATS.inc(repeats)
    metrics.MISKEYED.inc(miskeyed)
    metrics.UNTRUSTED.inc(untrusted)
    metrics.REFUNDS.inc(refunds)
    metrics.RISK_MISSING.inc(riskless)
    drawn, released, minor = (sum(column) for column in zip(*(one.explored for one in noted), strict=True))
    metrics.DRAWN.inc(drawn)
    metrics.RELEASED.inc(released)
    metrics.RELEASED_MONEY.inc(minor / minor_per_unit)
    for name, n in Counter(name for one in noted for name in one.fields).items():
        metrics.REJECTED.labels(name).inc(n)
    for what, n in Counter(what for one in noted for what in one.skipped).items():
        metrics.SKIPPED.labels(what).inc(n)
    for name, n in Counter(name for one in noted for name in one.failed).items():
        metrics.FEATURE_FAILED.labels(name).inc(n)
    by_bundle: dict[str, list[_Noted]] = defaultdict(list)
    for one in noted:
        by_bundle[one.bundle].append(one)
    for bundle, mine in by_bundle.items():
        blocks = np.concatenate([one.blocks for one in mine])
        blocked = int(blocks.sum())
        metrics.DECISIONS.labels("block", bundle).inc(blocked)
        metrics.DECISIONS.labels("allow", bundle).inc(len(blocks) - blocked)
        metrics.SCORES.observe(np.concatenate([one.scores for one in mine]), bundle)
    metrics.SCORES.keep(noted[-1].bundle)  # batches are acknowledged in order, so a replaced model adds no more scores
    appended_ms = np.concatenate([one.appended_ms for one in noted])
    done_s = np.repeat([one.done_s for one in noted], [len(one.appended_ms) for one in noted])
    is_known = appended_ms > 0
    metrics.END_TO_END.observe(done_s[is_known] - appended_ms[is_known] / 1000.0)
    return read
