"""Reads the sums of a run from its partitions and adds them up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shadow.comparison.bins import BINS, KINDS, Counts
from shadow.comparison.resets import VIEW, Reset
from shadow.comparison.totals import (
    ALL,
    CAPPED,
    CELLS,
    COLUMNS,
    COUNTS,
    DAY_SUMS,
    DAY_TOPS,
    ERRORS,
    LATE,
    MINOR,
    MONEY,
    Run,
    RunTotals,
    SegmentTotals,
)
from shadow.store.keys import TOTAL, Keys
from shadow.store.payload import DAY_FIELDS, FIELDS, TOP_FIELDS

_COUNTERS = ("duplicates", "repeats", "refunds", "conflicts")
_COLUMN_OF = {name.encode(): at for at, name in enumerate(FIELDS)}
_DAY_COLUMN_OF = {name.encode(): at for at, name in enumerate(DAY_FIELDS)}
_TOP_OF = {name.encode(): at for at, name in enumerate(TOP_FIELDS)}


class RunSums:
    """The sums of a run over partitions: `ask` for each in a pipeline, then `add` the replies in the same order."""

    def __init__(self, run: Run, segments: tuple[str, ...]) -> None:
        self.run, self._segments = run, segments
        self._counters: dict[str, int] = defaultdict(int)
        self._digests: dict[str, str] = {}
        self._view = ""
        self._hours: set[bytes] = set()
        self._resets: set[bytes] = set()
        self._gap = 0
        self._sums = {segment: SegmentSums() for segment in segments}
        self._scores = {segment: np.zeros((len(KINDS), BINS), dtype=np.int64) for segment in segments}

    def ask(self, pipe: Any, at: Keys) -> None:
        """Queue the reads of a partition."""
        name = str(self.run)
        pipe.hgetall(at.run(name))
        ask_members(pipe, at.hours(name))
        ask_members(pipe, at.resets(name))
        pipe.hget(at.fence, "gap")
        for segment in self._segments:
            pipe.hgetall(at.tally(name, TOTAL, segment))
            pipe.hgetall(at.card_sums(name, TOTAL, segment))
            pipe.get(at.scores(name, TOTAL, segment))

    def add(self, replies: Iterator[Any]) -> dict[str, str]:
        """Add the replies of a partition. Returns the run's texts and counters in it."""
        meta = texts(next(replies))
        for counter in _COUNTERS:
            self._counters[counter] += int(meta.get(counter, 0))
        self._digests |= {key: meta[key] for key in ("live_digest", "candidate_digest") if key in meta}
        self._view = meta.get(f"mark:{VIEW}", self._view)
        self._hours |= next(replies)
        self._resets |= next(replies)
        self._gap += int(next(replies) or 0)
        for segment in self._segments:
            self._sums[segment].add_counts(next(replies))
            self._sums[segment].add_card_days(next(replies))
            self._scores[segment] += cells(next(replies), len(KINDS) * BINS).reshape(len(KINDS), BINS)
        return meta

    def totals(self) -> RunTotals:
        """The totals of all partitions added so far."""
        covered = tuple(sorted(map(int, self._hours - {b"%d" % LATE})))
        return RunTotals(
            run=self.run,
            segments={segment: sums.totals(self._scores[segment]) for segment, sums in self._sums.items()},
            hours=len(covered),
            covered=covered,
            resets=tuple(sorted(map(_reset, self._resets))),
            errors=int(self._sums[ALL].counts[ERRORS]),
            duplicates=self._counters["duplicates"],
            repeats=self._counters["repeats"],
            refunds=self._counters["refunds"],
            conflicts=self._counters["conflicts"],
            gap=self._gap,
            live_digest=self._digests.get("live_digest", ""),
            candidate_digest=self._digests.get("candidate_digest", ""),
            view=self._view,
        )


def ask_members(pipe: Any, key: str) -> None:
    """`pipe.smembers`, in a form that works in a transaction on a cluster: redis-py 8.1 fails on its own there."""
    pipe.execute_command("SMEMBERS", key)


def ask_values(pipe: Any, names: list[str]) -> None:
    """`pipe.mget` of keys in one cluster slot, in a form that redis-py does not refuse in the pipeline of a cluster."""
    pipe.execute_command("MGET", *names)


def texts(found: Mapping[bytes, bytes]) -> dict[str, str]:
    """Decode a hash as redis-py returns it."""
    return {name.decode(): value.decode() for name, value in found.items()}


class SegmentSums:
    """The sums of a segment, to which the hashes of several hours, days or partitions are added.

    counts: int64 (COLUMNS,). days: int64 (DAY_SUMS,). tops: int64 (DAY_TOPS,).
    """

    def __init__(self) -> None:
        self.counts = np.zeros(COLUMNS, dtype=np.int64)
        self.days = np.zeros(DAY_SUMS, dtype=np.int64)
        self.tops = np.zeros(DAY_TOPS, dtype=np.int64)

    def add_counts(self, found: Mapping[bytes, bytes]) -> None:
        """Add the hash of a tally. Raises KeyError for a field that no program writes."""
        for name, value in found.items():
            self.counts[_COLUMN_OF[name]] += int(value)

    def add_card_days(self, found: Mapping[bytes, bytes]) -> None:
        """Add the hash of sums over card-days. Raises KeyError for a field that no program writes."""
        for name, value in found.items():
            if name in _TOP_OF:
                at = _TOP_OF[name]
                self.tops[at] = max(self.tops[at], int(value))
            else:
                self.days[_DAY_COLUMN_OF[name]] += int(value)

    def totals(self, scores: Counts | None = None) -> SegmentTotals:
        """Name the sums."""
        return SegmentTotals(
            counts=self.counts[COUNTS],
            minor=self.counts[MINOR],
            capped=self.counts[CAPPED],
            cells=self.days[:CELLS],
            money=self.days[MONEY].reshape(2, -1),
            tops=self.tops.reshape(2, -1),
            scores=np.zeros((len(KINDS), BINS), dtype=np.int64) if scores is None else scores,
            errors=int(self.counts[ERRORS]),
        )


def cells(found: bytes | None, n: int) -> Counts:
    """Decode a string of n sums, with zeros after its end: int64 (n,)."""
    out = np.zeros(n, dtype=np.int64)
    if found is not None:
        out[: len(found) // 8] = np.frombuffer(found, dtype=">i8")
    return out


def _reset(text: bytes) -> Reset:
    hour, cause = text.decode().split(":", 1)
    return Reset(int(hour), cause)
