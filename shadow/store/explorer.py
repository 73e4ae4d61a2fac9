"""Holds the samples of a run as columns for those who explore them, and keeps them up to date.

Reading bodies is what takes long, so each is read once. What Redis has is looked at again when an answer would be older
than asked for: the indexes of all days, the thresholds of the strata of those days that changed, and new bodies.
Nothing in memory is needed: whoever starts anew reads it again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from shadow.comparison.index import ENTRY, Entries, entry_of, kept, names_digest, unpacked
from shadow.comparison.sample import Sample
from shadow.comparison.totals import Run
from shadow.exploration.columns import MOST_ATTRIBUTES, Columns, Vocabulary
from shadow.exploration.labelled import Labelled
from shadow.exploration.table import Floats, Rows, Table
from shadow.store.run_sums import ask_values
from shadow.store.samples import CHUNK, INDEXES, SampleReader

#: Samples of a run that are held, those with the smallest hashes: some 60 MB. And as many as are read for somebody who
#: would rather have estimates at once than wait for all.
MOST, FIRST = 250_000, 5_000
#: Samples that were not explained yet and are looked at again each time.
ASKED_AGAIN = 500
#: How often thresholds of strata are read again of days whose index is the same, and runs without an index.
AGAIN_SECONDS = 30.0

Place = tuple[int, int]


@dataclass
class Block:
    """The samples of a partition and an event day. raw: the index as it was read. taus: thresholds of the strata."""

    raw: bytes
    entries: Entries
    columns: Columns
    chances: Floats
    taus: Mapping[bytes, bytes] = field(default_factory=dict)
    taus_at: float = 0.0


@dataclass
class Held:
    """What is held of a run. read_at: monotonic time of the last look. lists: names of segments by digest. most:
    samples that may be held. limit: the hash below which all are read that are in the table."""

    words: Vocabulary = field(default_factory=Vocabulary)
    blocks: dict[Place, Block] = field(default_factory=dict)
    lists: dict[int, list[str]] = field(default_factory=dict)
    scanned_at: float = -AGAIN_SECONDS
    read_at: float = -1e9
    turn: int = 0
    most: int = 0
    limit: float = 0.0
    labelled: Labelled = field(default_factory=Labelled)
    table: Table | None = None


class Explorer(SampleReader):
    """Tables of the runs of one slot. Errors of Redis are passed on."""

    def __init__(self, redis: Any, slot: str, prefix: str = "shadow") -> None:
        super().__init__(redis, slot, prefix)
        self._held: dict[str, Held] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def forget(self, but: Run | None = None) -> None:
        """Hold no runs but one."""
        self._held = {name: held for name, held in self._held.items() if name == str(but)}

    def age(self, run: Run) -> float:
        """Seconds since the run was last looked at."""
        held = self._held.get(str(run))
        return float("inf") if held is None else time.monotonic() - held.read_at

    async def table(self, run: Run, labelled: Labelled, max_age: float = 0.0, most: int | None = None) -> Table:
        """The samples of a run. labelled: what is known of its cases. max_age: seconds that the answer may be old.
        most: samples that are enough; MOST if missing."""
        name, enough = str(run), MOST if most is None else most
        held = self._held.setdefault(name, Held())
        if held.table is None or held.most < enough or time.monotonic() - held.read_at > max_age:
            asked_at = time.monotonic()
            async with self._locks[name]:
                if held.table is None or held.most < enough or held.read_at < asked_at - max_age:
                    await self._look(name, held, max(held.most, enough))
        table = held.table
        assert table is not None  # noqa: S101 - the look has made it
        if held.labelled is not labelled:
            held.labelled = labelled
            table = held.table = replace(table, labels=labelled.codes(table.entries["hash"]), _fields={})
        return table

    async def _look(self, run: str, held: Held, most: int) -> None:
        """Bring what is held of a run up to date, at most so many samples."""
        started = time.monotonic()
        indexed, rest = await self._days(run)
        places = [(partition, day) for partition, days in indexed.items() for day in days]
        before = dict(held.blocks)
        blocks = {place: before[place] for place in places if place in before}
        for start in range(0, len(places), INDEXES):
            blocks |= await self._indexes(run, held, places[start : start + INDEXES])
        loose = [(partition, day) for partition, days in rest.items() for day in days]
        if loose and started - held.scanned_at >= AGAIN_SECONDS:
            for place in loose:
                blocks[place] = await self._scanned(run, place, held)
            held.scanned_at = started
        else:
            blocks |= {place: before[place] for place in loose if place in before}
        held.blocks = blocks
        limit = _limit(held, most)
        read = await self._bodies(run, held, limit)
        is_same = len(before) == len(blocks) and all(before.get(place) is block for place, block in blocks.items())
        if held.table is None or read or not is_same or limit != held.limit:
            held.limit = limit
            held.table = self._joined(held)
        held.most, held.read_at = most, started

    async def _indexes(self, run: str, held: Held, places: Sequence[Place]) -> dict[Place, Block]:
        """The blocks of some places that have changed."""
        by_partition: dict[int, list[int]] = defaultdict(list)
        for partition, day in places:
            by_partition[partition].append(day)
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition, days in by_partition.items():
                at = self._keys(partition)
                ask_values(pipe, [at.index(run, day) for day in days])
                pipe.hgetall(at.names)
            replies = await pipe.execute()
        now, asked, raws = time.monotonic(), [], {}
        for (partition, days), packed, names in zip(by_partition.items(), replies[::2], replies[1::2], strict=True):
            held.lists |= {int(digest): orjson.loads(found) for digest, found in names.items()}
            for day, raw in zip(days, packed, strict=True):
                old = held.blocks.get((partition, day))
                raws[partition, day] = raw or b""
                if old is None or old.raw != raws[partition, day] or now - old.taus_at > AGAIN_SECONDS:
                    asked.append((partition, day))
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition, day in asked:
                pipe.hgetall(self._keys(partition).taus(run, day))
            found = await pipe.execute()
        out = {}
        for place, taus in zip(asked, found, strict=True):
            block = _renewed(held.blocks.get(place), raws[place], taus, held.lists)
            block.taus_at = now
            out[place] = block
        return out

    async def _scanned(self, run: str, place: Place, held: Held) -> Block:
        """The block of a place without an index."""
        at = self._keys(place[0])
        packed: dict[bytes, bytes] = {}
        async for member, body in self.redis.hscan_iter(at.bodies(run, place[1]), count=CHUNK):
            sample = Sample.decode(body)
            digest = names_digest(sample.segments)
            held.lists[digest] = list(sample.segments)
            packed[member] = entry_of(sample, range(len(sample.segments)), digest)
        taus = await self.redis.hgetall(at.taus(run, place[1]))
        return _renewed(held.blocks.get(place), b"".join(packed.values()), taus, held.lists)

    async def _bodies(self, run: str, held: Held, limit: float) -> int:
        """Read the bodies of samples that are new, and of some that had no explanation. Returns their number."""
        wanted: list[tuple[Place, int]] = []
        again: list[tuple[Place, int]] = []
        for place, block in held.blocks.items():
            inside = block.entries["hash"] < limit
            wanted += [(place, row) for row in np.flatnonzero(inside & ~block.columns.is_read).tolist()]
            unexplained = inside & block.columns.is_read & ~block.columns.is_explained
            again += [(place, row) for row in np.flatnonzero(unexplained).tolist()]
        first = held.turn % max(1, len(again))
        held.turn = first + ASKED_AGAIN
        wanted += (again[first:] + again[:first])[:ASKED_AGAIN]
        for start in range(0, len(wanted), CHUNK):
            rows: dict[Place, list[int]] = defaultdict(list)
            for place, row in wanted[start : start + CHUNK]:
                rows[place].append(row)
            async with self.redis.pipeline(transaction=False) as pipe:
                for (partition, day), mine in rows.items():
                    offsets = held.blocks[partition, day].entries["offset"][mine].tolist()
                    pipe.hmget(self._keys(partition).bodies(run, day), [str(offset) for offset in offsets])
                replies = await pipe.execute()
            for (place, mine), bodies in zip(rows.items(), replies, strict=True):
                columns = held.blocks[place].columns
                for row, body in zip(mine, bodies, strict=True):
                    if body is not None:
                        columns.put(row, orjson.loads(body), held.words)
        return len(wanted)

    def _joined(self, held: Held) -> Table:
        """All blocks in one. What has no body any more is left out."""
        limit = held.limit
        parts = [
            (place, block, block.columns.is_read & (block.entries["hash"] < limit))
            for place, block in held.blocks.items()
        ]
        entries = np.concatenate([np.zeros(0, dtype=ENTRY), *(block.entries[mask] for _, block, mask in parts)])
        chances = np.concatenate([np.zeros(0), *(block.chances[mask] for _, block, mask in parts)])
        width = max(1, len(held.words.attributes))
        columns = Columns.joined([_trimmed(block.columns, width).take(mask) for _, block, mask in parts], width)
        each = [int(mask.sum()) for _, _, mask in parts]
        places = np.array([place for place, _, _ in parts], dtype=np.int64).reshape(-1, 2).repeat(each, axis=0)
        return Table(
            partitions=places[:, 0],
            days=places[:, 1],
            entries=entries,
            chances=np.minimum(chances, limit),
            columns=columns,
            words=held.words,
            lists=dict(held.lists),
            labels=held.labelled.codes(entries["hash"]),
            stored=sum(len(block.entries) for block in held.blocks.values()),
        )

    async def rows_of(self, run: Run, table: Table, rows: Rows) -> AsyncIterator[Sample]:
        """The samples at some rows of a table, in order, with their inclusion probabilities. What has gone since is
        left out."""
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            by_place: dict[Place, list[int]] = defaultdict(list)
            for row in some.tolist():
                by_place[int(table.partitions[row]), int(table.days[row])].append(row)
            async with self.redis.pipeline(transaction=False) as pipe:
                for (partition, day), mine in by_place.items():
                    offsets = table.entries["offset"][mine].tolist()
                    pipe.hmget(self._keys(partition).bodies(str(run), day), [str(offset) for offset in offsets])
                replies = await pipe.execute()
            bodies: dict[int, bytes] = {}
            for mine, found in zip(by_place.values(), replies, strict=True):
                bodies |= {row: body for row, body in zip(mine, found, strict=True) if body is not None}
            for row in some.tolist():
                if row in bodies:
                    yield replace(Sample.decode(bodies[row]), inclusion_probability=float(table.chances[row]))

    async def of_card(self, run: Run, table: Table, rows: Rows, card: str) -> Rows:
        """Those of some rows that are of a card, and not just of one with the same tag."""
        there = {sample.offset async for sample in self.rows_of(run, table, rows) if sample.card_id == card}
        return rows[np.isin(table.entries["offset"][rows], list(there))]


def _renewed(old: Block | None, raw: bytes, taus: Mapping[bytes, bytes], lists: Mapping[int, Sequence[str]]) -> Block:
    """A block as it is now; the old one if nothing has changed."""
    if old is not None and old.raw == raw:
        if old.taus == taus:
            return old
        return Block(raw, old.entries, old.columns, chances_of(old.entries, taus, lists), taus)
    whole = unpacked(raw)
    entries = whole[kept(whole)]
    columns = Columns.empty(len(entries), MOST_ATTRIBUTES)
    if old is not None and len(old.entries):
        order = np.argsort(old.entries["offset"], kind="stable")
        at = np.searchsorted(old.entries["offset"], entries["offset"], sorter=order)
        was = order[np.minimum(at, len(order) - 1)]
        same = old.entries["offset"][was] == entries["offset"]
        for name in Columns.__dataclass_fields__:
            getattr(columns, name)[same] = getattr(old.columns, name)[was[same]]
    return Block(raw, entries, columns, chances_of(entries, taus, lists), taus)


def chances_of(entries: Entries, taus: Mapping[bytes, bytes], lists: Mapping[int, Sequence[str]]) -> Floats:
    """How probable it was that each sample would be kept: the largest threshold of its strata, 1 where one has not
    refused anything. taus: by `<outcome>:<segment>`."""
    refused = {name: float(tau) for name, tau in taus.items()}
    found = np.zeros(len(entries))
    for digest in np.unique(entries["names"]).tolist():
        mine = entries["names"] == digest
        for bit, name in enumerate(lists.get(digest, ())):
            of_outcome = np.array([refused.get(f"{outcome}:{name}".encode(), 1.0) for outcome in range(4)])
            inside = mine & ((entries["segments"] >> np.uint64(bit)) & np.uint64(1)).astype(bool)
            np.maximum(found, np.where(inside, of_outcome[entries["kind"] % 4], 0.0), out=found)
    return np.where(found > 0, found, 1.0)


def _limit(held: Held, most: int) -> float:
    """The hash below which samples are held."""
    n = sum(len(block.entries) for block in held.blocks.values())
    if n <= most:
        return 1.0
    hashes = np.concatenate([block.entries["hash"] for block in held.blocks.values()])
    return float(np.partition(hashes, most)[most])


def _trimmed(columns: Columns, width: int) -> Columns:
    return replace(columns, attributes=columns.attributes[:, :width])
