"""Finds and erases stored samples of one slot by their index, so that a page costs no more than the samples on it.

Runs that were begun before there was an index are read body by body: slowly, but in little memory, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from shadow.comparison.index import (
    ENTRY,
    Entries,
    Rows,
    card_tag,
    entry_of,
    first,
    matching,
    page_rows,
    sort_keys,
    unpacked,
)
from shadow.comparison.query import Query, matches
from shadow.comparison.sample import Sample
from shadow.comparison.totals import Run, event_days
from shadow.store import keys
from shadow.store.keys import Keys
from shadow.store.run_sums import ask_values

#: Samples whose bodies are in memory at once.
CHUNK = 200
#: Indexes, of a partition and a day each, that are in memory at once: with 400 samples each some 5 MB.
INDEXES = 128


@dataclass(frozen=True)
class Places:
    """Where n samples are stored, and what they are sorted by: partitions, days, offsets int64 (n,); keys, hashes
    float64 (n,)."""

    partitions: Rows
    days: Rows
    offsets: Rows
    keys: npt.NDArray[np.float64]
    hashes: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, rows: Any) -> Places:
        """Some of them, by positions or by a mask."""
        return Places(*(getattr(self, name)[rows] for name in Places.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """All of them in one."""
        names = cls.__dataclass_fields__
        kinds = dict.fromkeys(("keys", "hashes"), np.float64)
        return cls(
            *(
                np.concatenate([np.zeros(0, dtype=kinds.get(name, np.int64)), *(getattr(part, name) for part in parts)])
                for name in names
            )
        )


@dataclass(frozen=True)
class Found:
    """The page that a query asks for, in order, and how many samples match in all."""

    places: Places
    total: int


class SampleReader:
    """Finds samples of one slot. Errors of Redis are passed on.

    redis: an asyncio client of redis-py, of either kind.
    """

    def __init__(self, redis: Any, slot: str, prefix: str = "shadow") -> None:
        self.redis, self.slot, self.prefix = redis, slot, prefix

    def _keys(self, partition: int) -> Keys:
        return Keys(self.prefix, self.slot, partition)

    async def _partitions(self) -> list[int]:
        return sorted(map(int, await self.redis.smembers(keys.partitions(self.prefix, self.slot))))

    async def find(self, run: Run, query: Query, minor_per_unit: float) -> Found:
        """Find a page of a run's samples. minor_per_unit: of the reporting currency."""
        found, total, end = Places.joined([]), 0, query.after + query.limit
        async for part in self._matching(str(run), query, minor_per_unit):
            total += len(part)
            found = Places.joined([found, part])
            if len(found) > end:  # what comes after the page will not be needed
                found = found.take(first(found.keys, found.hashes, end, query.ascending))
        return Found(found.take(page_rows(found.keys, found.hashes, query)), total)

    async def _matching(self, run: str, query: Query, minor_per_unit: float) -> AsyncIterator[Places]:
        """All samples that match, some at a time."""
        indexed, rest = await self._days(run)
        places = [(partition, day) for partition, days in indexed.items() for day in days]
        for start in range(0, len(places), INDEXES):
            some: dict[int, list[int]] = defaultdict(list)
            for partition, day in places[start : start + INDEXES]:
                some[partition].append(day)
            async for part in self._by_index(run, some, query, minor_per_unit):
                yield part
        for partition, days in rest.items():
            async for part in self._by_body(partition, run, days, query, minor_per_unit):
                yield part

    async def samples(self, run: Run, found: Found) -> AsyncIterator[Sample]:
        """The samples of a page, with their inclusion probabilities. What has gone since it was found is left out."""
        async for _, sample in self._at(str(run), found.places):
            yield sample

    async def page(self, run: Run, query: Query, minor_per_unit: float) -> tuple[list[Sample], int]:
        """A page in memory, and how many samples match in all."""
        found = await self.find(run, query, minor_per_unit)
        return [sample async for sample in self.samples(run, found)], found.total

    async def _days(self, run: str) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """The event days of a run by partition: of partitions with an index, and of those without one."""
        partitions = await self._partitions()
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition in partitions:
                at = self._keys(partition)
                pipe.hmget(at.run(run), "indexed", "first_offset")
                pipe.smembers(at.indexed_days(run))
            replies = await pipe.execute()
        indexed, rest = {}, {}
        for partition, (is_indexed, begun), days in zip(partitions, replies[::2], replies[1::2], strict=True):
            if is_indexed is not None:
                indexed[partition] = sorted(map(int, days))
            elif begun is not None:
                hours = np.array([int(hour) for hour in await self.redis.smembers(self._keys(partition).hours(run))])
                rest[partition] = sorted(set(event_days(hours.astype(np.int64)).tolist()))
        return indexed, rest

    async def _by_index(
        self, run: str, places: Mapping[int, Sequence[int]], query: Query, minor_per_unit: float
    ) -> AsyncIterator[Places]:
        """The samples that match, by their indexes. places: event days by partition."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition, days in places.items():
                at = self._keys(partition)
                ask_values(pipe, [at.index(run, day) for day in days])
                pipe.hgetall(at.names)
            replies = await pipe.execute()
        for (partition, days), packed, names in zip(places.items(), replies[::2], replies[1::2], strict=True):
            parts = [part or b"" for part in packed]
            entries = unpacked(b"".join(parts))
            rows = np.flatnonzero(matching(entries, query, minor_per_unit, _bits(names, query.segment)))
            of_day = np.repeat(np.array(days, dtype=np.int64), [len(part) // ENTRY.itemsize for part in parts])
            found = _places(partition, of_day[rows], entries[rows], query)
            if query.card is not None or query.transaction is not None:
                there = self._at(run, found, with_chances=False)
                sure = [row async for row, sample in there if matches(sample, query, minor_per_unit)]
                found = found.take(np.array(sure, dtype=np.int64))
            yield found

    async def _by_body(
        self, partition: int, run: str, days: Sequence[int], query: Query, minor_per_unit: float
    ) -> AsyncIterator[Places]:
        """The samples of a partition that match, some at a time, by their bodies."""
        at = self._keys(partition)
        for day in days:
            seen: set[bytes] = set()  # a scan may tell twice of the same one
            packed: list[bytes] = []
            async for member, body in self.redis.hscan_iter(at.bodies(run, day), count=CHUNK):
                sample = Sample.decode(body)
                if member not in seen and matches(sample, query, minor_per_unit):
                    seen.add(member)
                    packed.append(entry_of(sample, (), 0))
            yield _places(partition, np.full(len(packed), day, dtype=np.int64), unpacked(b"".join(packed)), query)

    async def _at(self, run: str, places: Places, with_chances: bool = True) -> AsyncIterator[tuple[int, Sample]]:
        """The samples at some places that are still there, in order, each with its position.

        with_chances: also read how probable it was that each would be kept.
        """
        for start in range(0, len(places), CHUNK):
            some = places.take(slice(start, start + CHUNK))
            rows: dict[tuple[int, int], list[int]] = defaultdict(list)
            for row, place in enumerate(zip(some.partitions.tolist(), some.days.tolist(), strict=True)):
                rows[place].append(row)
            bodies: dict[int, bytes] = {}
            async with self.redis.pipeline(transaction=False) as pipe:
                for (partition, day), mine in rows.items():
                    pipe.hmget(self._keys(partition).bodies(run, day), [str(some.offsets[row]) for row in mine])
                for mine, found in zip(rows.values(), await pipe.execute(), strict=True):
                    bodies |= {row: body for row, body in zip(mine, found, strict=True) if body is not None}
            samples = {row: Sample.decode(bodies[row]) for row in sorted(bodies)}
            taus = await self._taus(run, rows, samples) if with_chances else {}
            for row, sample in samples.items():
                place = int(some.partitions[row]), int(some.days[row])
                chance = max((taus.get((*place, stratum), 1.0) for stratum in sample.strata), default=1.0)
                yield start + row, replace(sample, inclusion_probability=chance)

    async def _taus(
        self, run: str, rows: Mapping[tuple[int, int], Sequence[int]], samples: Mapping[int, Sample]
    ) -> dict[tuple[int, int, str], float]:
        """The smallest hash that each stratum of some samples has refused, by partition, day and stratum."""
        asked = {
            place: sorted({stratum for row in mine if row in samples for stratum in samples[row].strata})
            for place, mine in rows.items()
        }
        asked = {place: strata for place, strata in asked.items() if strata}
        async with self.redis.pipeline(transaction=False) as pipe:
            for (partition, day), strata in asked.items():
                pipe.hmget(self._keys(partition).taus(run, day), strata)
            replies = await pipe.execute()
        return {
            (*place, stratum): float(tau)
            for (place, strata), found in zip(asked.items(), replies, strict=True)
            for stratum, tau in zip(strata, found, strict=True)
            if tau is not None
        }


class SampleEraser(SampleReader):
    """Erases the samples of a card."""

    def __init__(self, redis: Any, slot: str, prefix: str = "shadow") -> None:
        super().__init__(redis, slot, prefix)
        self._erase = redis.register_script((files("shadow.store") / "lua" / "erase.lua").read_text())

    async def erase(self, card: str) -> int:
        """Erase the samples of a card, with their entries. Returns their number.

        Their places in the strata remain, so inclusion probabilities and further sampling stay the same.
        """
        runs = [await self.redis.smembers(self._keys(partition).runs) for partition in await self._partitions()]
        gone = 0
        for run in sorted(name.decode() for name in set().union(*runs)):
            for by_partition in await self._days(run):
                for partition, days in by_partition.items():
                    for day in days:
                        gone += await self._erase_day(self._keys(partition), run, day, card)
        return gone

    async def _erase_day(self, at: Keys, run: str, day: int, card: str) -> int:
        packed = await self.redis.get(at.index(run, day))
        if packed is None:
            scanned = self.redis.hscan_iter(at.bodies(run, day), count=CHUNK)
            members = [member async for member, body in scanned if Sample.decode(body).card_id == card]
        else:
            entries = unpacked(packed)
            offsets = entries["offset"][entries["card"] == card_tag(card)]
            if not len(offsets):
                return 0
            members = [
                member
                for some in _chunks([str(offset) for offset in dict.fromkeys(offsets.tolist())])
                for member, body in zip(some, await self.redis.hmget(at.bodies(run, day), some), strict=True)
                if body is not None and Sample.decode(body).card_id == card
            ]
        return int(await self._erase(keys=[at.bodies(run, day), at.index(run, day)], args=members))


def _places(partition: int, days: Rows, entries: Entries, query: Query) -> Places:
    here = np.full(len(entries), partition, dtype=np.int64)
    return Places(here, days, entries["offset"], sort_keys(entries, query), entries["hash"])


def _bits(lists: Mapping[bytes, bytes], segment: str | None) -> dict[int, int]:
    """The position of a segment in each list of segments that has it. lists: as they are stored, by digest."""
    if segment is None:
        return {}
    names = {int(digest): orjson.loads(found) for digest, found in lists.items()}
    return {digest: found.index(segment) for digest, found in names.items() if segment in found}


def _chunks(members: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(members), CHUNK):
        yield members[start : start + CHUNK]
