"""Reads what Redis has of a slot: tallies, cases and progress, summed over partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shadow.comparison.bins import BINS, FEATURE_BINS, KINDS, Counts
from shadow.comparison.case import Case
from shadow.comparison.sample import Sample
from shadow.comparison.sampling import WHOLE_RUN
from shadow.comparison.totals import Run, RunTotals, SegmentTotals, event_days
from shadow.store import keys
from shadow.store.keys import Keys
from shadow.store.payload import day_name
from shadow.store.run_sums import RunSums, SegmentSums, ask_members, cells, texts


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run of a slot, with its digests and thresholds as first seen.

    offsets: on `decisions`, of the run's first decision and after its last, by partition.
    """

    run: Run
    live_digest: str
    candidate_digest: str
    live_threshold: float | None
    candidate_threshold: float | None
    offsets: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a slot has read a partition.

    first: offset on `decisions` of the first that was read. next: of the first that is not applied. source: highest
    source offset applied, -1 for none. skipped: decisions read while the slot was empty, or made before it was filled.
    unreadable: values that are no decisions. gap: decisions that retention deleted before they were read. gaps: these
    ranges, as `from-to`.
    """

    partition: int
    first: int
    next: int
    source: int
    skipped: int
    unreadable: int
    gap: int
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """One partition of a slot at one moment. runs: oldest first, each with its totals."""

    progress: PartitionProgress
    runs: tuple[tuple[RunInfo, RunTotals], ...]


class TallyReader:
    """Reads tallies and cases of one slot. Errors of Redis are passed on.

    redis: an asyncio client of redis-py, of either kind; their types share no base, hence Any. segments: names, in the
    order of `Segments.names`.
    """

    def __init__(self, redis: Any, slot: str, segments: tuple[str, ...], prefix: str = "shadow") -> None:
        self.redis, self.slot, self.prefix = redis, slot, prefix
        self._segments = segments

    def _keys(self, partition: int) -> Keys:
        return Keys(self.prefix, self.slot, partition)

    async def ping(self) -> None:
        """Check that Redis answers. Raises one of `connection.AWAY` if it does not."""
        await self.redis.ping()

    async def _days(self, at: Keys, run: str) -> list[int]:
        """Event days of a run in a partition, LATE_DAY for late transactions."""
        hours = np.array(await self._members(at.hours(run)), dtype=np.int64)
        return sorted(set(event_days(hours).tolist()))

    async def _members(self, key: str) -> list[str]:
        return sorted(member.decode() for member in await self.redis.smembers(key))

    async def partitions(self) -> list[int]:
        """The partitions that the slot has ever opened."""
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
        """The totals of a run over all partitions; zeros for an unknown run."""
        ats, sums = [self._keys(partition) for partition in await self.partitions()], RunSums(run, self._segments)
        async with self.redis.pipeline(transaction=False) as pipe:
            for at in ats:
                sums.ask(pipe, at)
            replies = iter(await pipe.execute())
        for _ in ats:
            sums.add(replies)
        return sums.totals()

    async def books(self, partition: int) -> Books:
        """A partition's progress and runs, consistent even while a worker applies ranges."""
        at = self._keys(partition)
        names, seen = None, await self._members(at.runs)
        while names != seen:  # again if a run has begun since
            names = seen
            sums = [RunSums(Run.parse(name), self._segments) for name in names]
            async with self.redis.pipeline(transaction=True) as pipe:  # its keys share a cluster slot
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
        """A segment of a run by event hour, LATE among them, over all partitions, without card-days and scores."""
        name = str(run)
        sums: dict[int, SegmentSums] = defaultdict(SegmentSums)
        for partition in await self.partitions():
            at = self._keys(partition)
            hours = [int(hour) for hour in await self._members(at.hours(name))]
            async with self.redis.pipeline(transaction=False) as pipe:
                for hour in hours:
                    pipe.hgetall(at.tally(name, hour, segment))
                for hour, found in zip(hours, await pipe.execute(), strict=True):
                    sums[hour].add_counts(found)
        return {hour: one.totals() for hour, one in sorted(sums.items())}

    async def daily(
        self, run: Run, segments: Sequence[str], only: Collection[int] | None = None
    ) -> dict[int, dict[str, SegmentTotals]]:
        """Segments of a run by event day, LATE_DAY among them, over all partitions, without scores. only: these days;
        None for all."""
        name = str(run)
        sums: dict[int, dict[str, SegmentSums]] = defaultdict(lambda: {segment: SegmentSums() for segment in segments})
        for partition in await self.partitions():
            at = self._keys(partition)
            every = np.array([int(hour) for hour in await self._members(at.hours(name))], dtype=np.int64)
            wanted = every if only is None else every[np.isin(event_days(every), list(only))]
            hours, days = wanted.tolist(), event_days(wanted).tolist()
            async with self.redis.pipeline(transaction=False) as pipe:
                for segment in segments:
                    for hour in hours:
                        pipe.hgetall(at.tally(name, hour, segment))
                    for day in sorted(set(days)):
                        pipe.hgetall(at.card_sums(name, day, segment))
                replies = iter(await pipe.execute())
            for segment in segments:
                for day in days:
                    sums[day][segment].add_counts(next(replies))
                for day in sorted(set(days)):
                    sums[day][segment].add_card_days(next(replies))
        return {
            day: {segment: one.totals() for segment, one in by_segment.items()}
            for day, by_segment in sorted(sums.items())
        }

    async def histograms(self, run: Run, days: Sequence[int], segments: Sequence[str]) -> Counts:
        """Score histograms of event days: int64 (partitions, days, segments, KINDS, BINS)."""
        ats = [self._keys(partition) for partition in await self.partitions()]
        names = [at.scores(str(run), day, segment) for at in ats for day in days for segment in segments]
        return (await self._strings(names, len(KINDS) * BINS)).reshape(
            len(ats), len(days), len(segments), len(KINDS), BINS
        )

    async def snapshots(self, run: Run, days: Sequence[int], view: str, features: int) -> Counts:
        """Feature histograms of event days, under one view: int64 (partitions, days, features, FEATURE_BINS)."""
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

    async def progress(self) -> list[PartitionProgress]:
        """How far the slot has read each partition."""
        out = []
        for partition in await self.partitions():
            at = self._keys(partition)
            out.append(_progress(partition, await self._hash(at.fence), await self.redis.lrange(at.gaps, 0, -1)))
        return out

    async def cases(self, run: Run) -> list[Case]:
        """The label sample of a run, ordered by hash: disagreements that a label may decide."""
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
                out.append(replace(case, inclusion=max(refused.get(stratum, 1.0) for stratum in case.strata)))
        return sorted(out, key=lambda case: (case.hash, case.transaction))

    async def sample_of(self, run: Run, case: Case) -> Sample | None:
        """The sample of a case; None once it has expired."""
        body = await self.redis.hget(self._keys(case.partition).bodies(str(run), case.day), str(case.offset))
        return None if body is None else Sample.decode(body)


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


def _progress(partition: int, fence: Mapping[str, str], gaps: Sequence[bytes]) -> PartitionProgress:
    return PartitionProgress(
        partition=partition,
        first=int(fence.get("first", 0)),
        next=int(fence.get("next", 0)),
        source=int(fence.get("source", -1)),
        skipped=int(fence.get("skipped", 0)),
        unreadable=int(fence.get("unreadable", 0)),
        gap=int(fence.get("gap", 0)),
        gaps=tuple(gap.decode() for gap in gaps),
    )


def _number(text: str | None) -> float | None:
    return None if text in (None, "") else float(text)
