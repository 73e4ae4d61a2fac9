"""Reads what Redis has of a slot: tallies, samples and how far it came, summed over partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from shadow import keys
from shadow.bins import BINS, FEATURE_BINS, KINDS, Counts
from shadow.cases import Case
from shadow.clean import VIEW, Reset
from shadow.keys import TOTAL, Keys
from shadow.payload import FIELDS, day_name
from shadow.samples import WHOLE_RUN
from shadow.tally import (
    ALL,
    CAPPED,
    COLUMNS,
    COUNTS,
    ERRORS,
    LATE,
    MINOR,
    SQUARES,
    Run,
    RunTotals,
    SegmentTotals,
    event_days,
)

COUNTERS = ("duplicates", "repeats", "conflicts")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run of a slot, with its digests and thresholds as first seen. offsets: on `decisions`, from the run's first
    decision to after its last, by partition."""

    run: Run
    live_digest: str
    candidate_digest: str
    live_threshold: float | None
    candidate_threshold: float | None
    offsets: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a slot has read a partition."""

    partition: int
    next: int
    source: int
    skipped: int
    unreadable: int
    gap: int
    gaps: tuple[str, ...]


class TallyReader:
    """Tallies and samples of one slot, for whoever only reads. Redis's own errors are passed on.

    redis: an asyncio client of redis-py (whose types do not tell its two kinds apart, hence Any).
    """

    def __init__(self, redis: Any, slot: str, segments: tuple[str, ...], prefix: str = "shadow") -> None:
        self.redis, self.slot, self.prefix = redis, slot, prefix
        self._segments = segments

    def _keys(self, partition: int) -> Keys:
        return Keys(self.prefix, self.slot, partition)

    async def ping(self) -> None:
        """Raises what Redis raises when it is away."""
        await self.redis.ping()

    async def _days(self, at: Keys, run: str) -> list[int]:
        """Event days of a run in a partition, -1 for LATE."""
        hours = np.array(await self._members(at.hours(run)), dtype=np.int64)
        return sorted(set(event_days(hours).tolist()))

    async def _members(self, key: str) -> list[str]:
        return sorted(member.decode() for member in await self.redis.smembers(key))

    async def partitions(self) -> list[int]:
        """Partitions that the slot ever had."""
        return sorted(map(int, await self._members(keys.partitions(self.prefix, self.slot))))

    async def runs(self) -> list[RunInfo]:
        """All runs of the slot, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        offsets: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
        for partition in await self.partitions():
            at = self._keys(partition)
            for run in await self._members(at.runs):
                meta = await self._hash(at.run(run))
                found.setdefault(run, meta)
                offsets[run][partition] = (int(meta["first_offset"]), int(meta["next_offset"]))
        return sorted(
            (
                RunInfo(
                    Run.parse(run),
                    meta.get("live_digest", ""),
                    meta.get("candidate_digest", ""),
                    _number(meta.get("live_threshold")),
                    _number(meta.get("candidate_threshold")),
                    offsets[run],
                )
                for run, meta in found.items()
            ),
            key=lambda info: info.run,
        )

    async def _hash(self, key: str) -> dict[str, str]:
        found = await self.redis.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def totals(self, run: Run) -> RunTotals:
        """What a run adds up to, over all partitions; empty for a run that is not there."""
        name, partitions = str(run), await self.partitions()
        ats = [self._keys(partition) for partition in partitions]
        async with self.redis.pipeline(transaction=False) as pipe:
            for at in ats:
                pipe.hgetall(at.run(name))
                pipe.smembers(at.hours(name))
                pipe.smembers(at.resets(name))
                pipe.hget(at.fence, "gap")
                for segment in self._segments:
                    pipe.hgetall(at.tally(name, TOTAL, segment))
                    pipe.get(at.scores(name, TOTAL, segment))
            replies = iter(await pipe.execute())
        counters: dict[str, int] = defaultdict(int)
        digests: dict[str, str] = {}
        view = ""
        hours: set[bytes] = set()
        resets: set[bytes] = set()
        gap = 0
        sums = {segment: np.zeros(COLUMNS + 2, dtype=np.int64) for segment in self._segments}
        scores = {segment: np.zeros((len(KINDS), BINS), dtype=np.int64) for segment in self._segments}
        for _ in ats:
            meta = {key.decode(): value.decode() for key, value in next(replies).items()}
            for counter in COUNTERS:
                counters[counter] += int(meta.get(counter, 0))
            digests |= {key: meta[key] for key in ("live_digest", "candidate_digest") if key in meta}
            view = meta.get(f"mark:{VIEW}", view)
            hours |= next(replies)
            resets |= next(replies)
            gap += int(next(replies) or 0)
            for segment in self._segments:
                _add(sums[segment], next(replies))
                scores[segment] += _cells(next(replies), len(KINDS) * BINS).reshape(len(KINDS), BINS)
        covered = tuple(sorted(map(int, hours - {b"%d" % LATE})))
        return RunTotals(
            run=run,
            segments={segment: _totals(counts, scores[segment]) for segment, counts in sums.items()},
            hours=len(covered),
            covered=covered,
            resets=tuple(sorted(map(_reset, resets))),
            errors=int(sums[ALL][ERRORS]),
            duplicates=counters["duplicates"],
            repeats=counters["repeats"],
            conflicts=counters["conflicts"],
            gap=gap,
            live_digest=digests.get("live_digest", ""),
            candidate_digest=digests.get("candidate_digest", ""),
            view=view,
        )

    async def hourly(self, run: Run, segment: str) -> dict[int, SegmentTotals]:
        """A segment of a run by event hour, LATE among them, over all partitions."""
        name = str(run)
        sums: dict[int, Any] = defaultdict(lambda: np.zeros(COLUMNS + 2, dtype=np.int64))
        for partition in await self.partitions():
            at = self._keys(partition)
            hours = [int(hour) for hour in await self._members(at.hours(name))]
            async with self.redis.pipeline(transaction=False) as pipe:
                for hour in hours:
                    pipe.hgetall(at.tally(name, hour, segment))
                for hour, found in zip(hours, await pipe.execute(), strict=True):
                    _add(sums[hour], found)
        return {hour: _totals(counts) for hour, counts in sorted(sums.items())}

    async def histograms(self, run: Run, days: Sequence[int], segments: Sequence[str]) -> Counts:
        """Scores on some event days: int64 (partitions, days, segments, KINDS, BINS)."""
        ats = [self._keys(partition) for partition in await self.partitions()]
        names = [at.scores(str(run), day, segment) for at in ats for day in days for segment in segments]
        return (await self._strings(names, len(KINDS) * BINS)).reshape(
            len(ats), len(days), len(segments), len(KINDS), BINS
        )

    async def snapshots(self, run: Run, days: Sequence[int], view: str, features: int) -> Counts:
        """Features of a view on some event days: int64 (partitions, days, features, FEATURE_BINS)."""
        ats = [self._keys(partition) for partition in await self.partitions()]
        names = [at.feature(str(run), day, view, n) for at in ats for day in days for n in range(features)]
        return (await self._strings(names, FEATURE_BINS)).reshape(len(ats), len(days), features, FEATURE_BINS)

    async def _strings(self, names: Sequence[str], cells: int) -> Counts:
        """Strings of sums: int64 (names, cells)."""
        out = np.zeros((len(names), cells), dtype=np.int64)
        async with self.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
            for at, found in enumerate(await pipe.execute()):
                out[at] = _cells(found, cells)
        return out

    async def progress(self) -> list[Progress]:
        """How far each partition is read."""
        out = []
        for partition in await self.partitions():
            at = self._keys(partition)
            fence = await self._hash(at.fence)
            gaps = tuple(gap.decode() for gap in await self.redis.lrange(at.gaps, 0, -1))
            numbers = {name: int(fence.get(name, 0)) for name in ("next", "skipped", "unreadable", "gap")}
            out.append(Progress(partition=partition, source=int(fence.get("source", -1)), gaps=gaps, **numbers))
        return out

    async def samples(self, run: Run) -> list[dict[str, Any]]:
        """Every kept sample of a run, with its `inclusion_probability`."""
        name, out = str(run), []
        for partition in await self.partitions():
            at = self._keys(partition)
            for day in await self._days(at, name):
                taus = {field: float(tau) for field, tau in (await self._hash(at.taus(name, day))).items()}
                for body in (await self._hash(at.bodies(name, day))).values():
                    sample = orjson.loads(body)
                    strata = [f"{sample['outcome_code']}:{segment}" for segment in sample["segments"]]
                    sample["inclusion_probability"] = max(taus.get(stratum, 1.0) for stratum in strata)
                    out.append(sample)
        return out

    async def cases(self, run: Run) -> list[Case]:
        """The label sample of a run: disagreements that a label may decide, by hash."""
        name, out = str(run), []
        for partition in await self.partitions():
            at = self._keys(partition)
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(at.taus(name, day_name(WHOLE_RUN)))
                pipe.hvals(at.bodies(name, day_name(WHOLE_RUN)))
                taus, bodies = await pipe.execute()
            refused = {field.decode(): float(tau) for field, tau in taus.items()}
            for body in bodies:
                case = Case.decode(body, partition, 1.0)
                strata = [f"{case.outcome}:{segment}" for segment in case.segments]
                out.append(replace(case, inclusion=max(refused.get(stratum, 1.0) for stratum in strata)))
        return sorted(out, key=lambda case: (case.hash, case.transaction))

    async def sample_of(self, run: Run, case: Case) -> dict[str, Any] | None:
        """The kept sample that a case is of; None once it has expired."""
        body = await self.redis.hget(self._keys(case.partition).bodies(str(run), case.day), str(case.offset))
        return None if body is None else dict(orjson.loads(body))


def _number(text: str | None) -> float | None:
    return None if text in (None, "") else float(text)


def _reset(text: bytes) -> Reset:
    hour, cause = text.decode().split(":", 1)
    return Reset(int(hour), cause)


def _add(sums: Any, found: Mapping[bytes, bytes]) -> None:
    for name, value in found.items():
        sums[_COLUMN_OF[name]] += int(value)


def _cells(found: bytes | None, n: int) -> Counts:
    """A string of sums, with the zeros behind its end."""
    out = np.zeros(n, dtype=np.int64)
    if found is not None:
        out[: len(found) // 8] = np.frombuffer(found, dtype=">i8")
    return out


_COLUMN_OF = {name.encode(): at for at, name in enumerate((*FIELDS, "p0", "p1"))}


def _totals(sums: Any, scores: Any = None) -> SegmentTotals:
    return SegmentTotals(
        counts=sums[COUNTS],
        minor=sums[MINOR],
        capped=sums[CAPPED],
        squares=sums[SQUARES],
        pairs=sums[COLUMNS:],
        scores=np.zeros((len(KINDS), BINS), dtype=np.int64) if scores is None else scores,
        errors=int(sums[ERRORS]),
    )
