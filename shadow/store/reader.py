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
from shadow.keys import Keys
from shadow.payload import day_name
from shadow.runsums import RunSums, add_fields, ask_members, cells, segment_totals, texts
from shadow.samples import WHOLE_RUN
from shadow.tally import COLUMNS, Run, RunTotals, SegmentTotals, event_days


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


@dataclass(frozen=True, slots=True)
class Books:
    """What a slot has of one partition, as of one moment. runs: oldest first, each with what it adds up to."""

    progress: Progress
    runs: tuple[tuple[RunInfo, RunTotals], ...]


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
                offsets[run][partition] = _reach(meta)
        return sorted((_info(run, meta, offsets[run]) for run, meta in found.items()), key=lambda info: info.run)

    async def _hash(self, key: str) -> dict[str, str]:
        return texts(await self.redis.hgetall(key))

    async def totals(self, run: Run) -> RunTotals:
        """What a run adds up to, over all partitions; empty for a run that is not there."""
        ats, sums = [self._keys(partition) for partition in await self.partitions()], RunSums(run, self._segments)
        async with self.redis.pipeline(transaction=False) as pipe:
            for at in ats:
                sums.ask(pipe, at)
            replies = iter(await pipe.execute())
        for _ in ats:
            sums.add(replies)
        return sums.totals()

    async def books(self, partition: int) -> Books:
        """A partition's progress and runs, which belong together even while a worker moves the partition on."""
        at = self._keys(partition)
        names, seen = None, await self._members(at.runs)
        while names != seen:  # first, and if a run began since
            names = seen
            sums = [RunSums(Run.parse(name), self._segments) for name in names]
            async with self.redis.pipeline(transaction=True) as pipe:  # possible, for its keys share a cluster slot
                ask_members(pipe, at.runs)
                pipe.hgetall(at.fence)
                pipe.lrange(at.gaps, 0, -1)
                for one in sums:
                    one.ask(pipe, at)
                found, fence, gaps, *rest = await pipe.execute()
            seen = sorted(member.decode() for member in found)
        replies, runs = iter(rest), []
        for one in sums:
            meta = one.add(replies)
            runs.append((_info(str(one.run), meta, {partition: _reach(meta)}), one.totals()))
        return Books(_progress(partition, texts(fence), gaps), tuple(sorted(runs, key=lambda run: run[0].run)))

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
                    add_fields(sums[hour], found)
        return {hour: segment_totals(counts) for hour, counts in sorted(sums.items())}

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

    async def _strings(self, names: Sequence[str], n: int) -> Counts:
        """Strings of sums: int64 (names, n)."""
        out = np.zeros((len(names), n), dtype=np.int64)
        async with self.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
            for at, found in enumerate(await pipe.execute()):
                out[at] = cells(found, n)
        return out

    async def progress(self) -> list[Progress]:
        """How far each partition is read."""
        out = []
        for partition in await self.partitions():
            at = self._keys(partition)
            out.append(_progress(partition, await self._hash(at.fence), await self.redis.lrange(at.gaps, 0, -1)))
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


def _info(run: str, meta: Mapping[str, str], offsets: dict[int, tuple[int, int]]) -> RunInfo:
    return RunInfo(
        Run.parse(run),
        meta.get("live_digest", ""),
        meta.get("candidate_digest", ""),
        _number(meta.get("live_threshold")),
        _number(meta.get("candidate_threshold")),
        offsets,
    )


def _reach(meta: Mapping[str, str]) -> tuple[int, int]:
    return int(meta["first_offset"]), int(meta["next_offset"])


def _progress(partition: int, fence: Mapping[str, str], gaps: Sequence[bytes]) -> Progress:
    return Progress(
        partition=partition,
        next=int(fence.get("next", 0)),
        source=int(fence.get("source", -1)),
        skipped=int(fence.get("skipped", 0)),
        unreadable=int(fence.get("unreadable", 0)),
        gap=int(fence.get("gap", 0)),
        gaps=tuple(gap.decode() for gap in gaps),
    )


def _number(text: str | None) -> float | None:
    return None if text in (None, "") else float(text)
