"""What batches decided, added to the metrics when somebody looks: done for each batch it took 0.2 ms of its 3."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer import metrics
from scorer.pipeline import Scores, Settled

#: Transactions that are noted at most, for a worker that nobody scrapes.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Noted:
    """What the metrics need of a batch of one partition. done_s: when it was acknowledged."""

    bundle: str
    done_s: float
    scores: Scores
    blocks: npt.NDArray[np.bool_]
    appended_ms: npt.NDArray[np.int64]
    fields: Sequence[str]
    counts: tuple[int, int, int, int]


class Counting:
    """Batches that are acknowledged and not in the metrics yet.

    `note` in one thread, which never waits for one that looks, unless nobody did for long; `show` in any.
    """

    def __init__(self) -> None:
        self._noted: deque[_Noted] = deque()
        self._lock = threading.Lock()
        self._read = self._shown = 0  # transactions; each is written by one side only

    def note(self, settled: Settled, read: int, bundle: str, done_s: float) -> None:
        """A batch of so many transactions was decided by a bundle and acknowledged."""
        counts = read, settled.repeats, settled.miskeyed, settled.untrusted
        self._noted.append(
            _Noted(bundle, done_s, settled.scores, settled.blocks, settled.appended_ms, settled.fields, counts)
        )
        self._read += read
        if self._read - self._shown >= MOST:
            self.show()

    def show(self) -> None:
        """Add what was noted to the metrics."""
        with self._lock:
            noted = [self._noted.popleft() for _ in range(len(self._noted))]
            if noted:
                self._shown += _show(noted)


def _show(noted: Sequence[_Noted]) -> int:
    """Returns how many transactions these were."""
    columns = zip(*(one.counts for one in noted), strict=True)
    read, repeats, miskeyed, untrusted = (int(sum(column)) for column in columns)
    metrics.TRANSACTIONS.inc(read)
    metrics.REPEATS.inc(repeats)
    metrics.MISKEYED.inc(miskeyed)
    metrics.UNTRUSTED.inc(untrusted)
    for name, n in Counter(name for one in noted for name in one.fields).items():
        metrics.REJECTED.labels(name).inc(n)
    by_bundle: dict[str, list[_Noted]] = defaultdict(list)
    for one in noted:
        by_bundle[one.bundle].append(one)
    for bundle, mine in by_bundle.items():
        blocks = np.concatenate([one.blocks for one in mine])
        blocked = int(blocks.sum())
        metrics.DECISIONS.labels("block", bundle).inc(blocked)
        metrics.DECISIONS.labels("allow", bundle).inc(len(blocks) - blocked)
        metrics.SCORES.observe(np.concatenate([one.scores for one in mine]), bundle)
    metrics.SCORES.keep(noted[-1].bundle)  # acknowledged in order: nothing comes of a model that was replaced
    appended_ms = np.concatenate([one.appended_ms for one in noted])
    done_s = np.repeat([one.done_s for one in noted], [len(one.appended_ms) for one in noted])
    is_known = appended_ms > 0
    metrics.END_TO_END.observe(done_s[is_known] - appended_ms[is_known] / 1000.0)
    return read
