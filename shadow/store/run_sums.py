"""What Redis holds of a run in each of its partitions, asked for and added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shadow.bins import BINS, KINDS, Counts
from shadow.clean import VIEW, Reset
from shadow.keys import TOTAL, Keys
from shadow.payload import FIELDS
from shadow.tally import ALL, CAPPED, COLUMNS, COUNTS, ERRORS, LATE, MINOR, SQUARES, Run, RunTotals, SegmentTotals

_COUNTERS = ("duplicates", "repeats", "conflicts")
_COLUMN_OF = {name.encode(): at for at, name in enumerate((*FIELDS, "p0", "p1"))}


class RunSums:
    """Adds up what partitions have of a run: `ask` of each within a pipeline, then `add` the replies in that order."""

    def __init__(self, run: Run, segments: tuple[str, ...]) -> None:
        self.run, self._segments = run, segments
        self._counters: dict[str, int] = defaultdict(int)
        self._digests: dict[str, str] = {}
        self._view = ""
        self._hours: set[bytes] = set()
        self._resets: set[bytes] = set()
        self._gap = 0
        self._counts = {segment: np.zeros(COLUMNS + 2, dtype=np.int64) for segment in segments}
        self._scores = {segment: np.zeros((len(KINDS), BINS), dtype=np.int64) for segment in segments}

    def ask(self, pipe: Any, at: Keys) -> None:
        """Queue what has to be read of a partition."""
        name = str(self.run)
        pipe.hgetall(at.run(name))
        ask_members(pipe, at.hours(name))
        ask_members(pipe, at.resets(name))
        pipe.hget(at.fence, "gap")
        for segment in self._segments:
            pipe.hgetall(at.tally(name, TOTAL, segment))
            pipe.get(at.scores(name, TOTAL, segment))

    def add(self, replies: Iterator[Any]) -> dict[str, str]:
        """Returns the run's texts and counters in that partition."""
        meta = texts(next(replies))
        for counter in _COUNTERS:
            self._counters[counter] += int(meta.get(counter, 0))
        self._digests |= {key: meta[key] for key in ("live_digest", "candidate_digest") if key in meta}
        self._view = meta.get(f"mark:{VIEW}", self._view)
        self._hours |= next(replies)
        self._resets |= next(replies)
        self._gap += int(next(replies) or 0)
        for segment in self._segments:
            add_fields(self._counts[segment], next(replies))
            self._scores[segment] += cells(next(replies), len(KINDS) * BINS).reshape(len(KINDS), BINS)
        return meta

    def totals(self) -> RunTotals:
        """What all that was added comes to."""
        covered = tuple(sorted(map(int, self._hours - {b"%d" % LATE})))
        return RunTotals(
            run=self.run,
            segments={
                segment: segment_totals(counts, self._scores[segment]) for segment, counts in self._counts.items()
            },
            hours=len(covered),
            covered=covered,
            resets=tuple(sorted(map(_reset, self._resets))),
            errors=int(self._counts[ALL][ERRORS]),
            duplicates=self._counters["duplicates"],
            repeats=self._counters["repeats"],
            conflicts=self._counters["conflicts"],
            gap=self._gap,
            live_digest=self._digests.get("live_digest", ""),
            candidate_digest=self._digests.get("candidate_digest", ""),
            view=self._view,
        )


def ask_members(pipe: Any, key: str) -> None:
    """`pipe.smembers`, also in a transaction on a cluster, where redis-py 8.1 fails over the reply to its own."""
    pipe.execute_command("SMEMBERS", key)


def texts(found: Mapping[bytes, bytes]) -> dict[str, str]:
    """A hash as redis-py gives it, decoded."""
    return {name.decode(): value.decode() for name, value in found.items()}


def add_fields(sums: Counts, found: Mapping[bytes, bytes]) -> None:
    """Add a tally's hash to sums: int64 (COLUMNS + 2,), pairs last."""
    for name, value in found.items():
        sums[_COLUMN_OF[name]] += int(value)


def cells(found: bytes | None, n: int) -> Counts:
    """A string of sums, with the zeros behind its end."""
    out = np.zeros(n, dtype=np.int64)
    if found is not None:
        out[: len(found) // 8] = np.frombuffer(found, dtype=">i8")
    return out


def segment_totals(sums: Counts, scores: Counts | None = None) -> SegmentTotals:
    """Sums as `add_fields` leaves them, by their names."""
    return SegmentTotals(
        counts=sums[COUNTS],
        minor=sums[MINOR],
        capped=sums[CAPPED],
        squares=sums[SQUARES],
        pairs=sums[COLUMNS:],
        scores=np.zeros((len(KINDS), BINS), dtype=np.int64) if scores is None else scores,
        errors=int(sums[ERRORS]),
    )


def _reset(text: bytes) -> Reset:
    hour, cause = text.decode().split(":", 1)
    return Reset(int(hour), cause)
