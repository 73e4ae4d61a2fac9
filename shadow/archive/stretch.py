"""Reads archived decisions back as their partitions had them: in the order of their offsets, some at a time.

A table is in no order: a commit holds several partitions, a late decision lies among those of an earlier day, and
compaction puts files together as it likes. A first pass over places alone counts the decisions of every block of
offsets. By these counts the stretch is cut into windows, which hold about equally many, and each row group is read when
a window first needs it. So memory is bounded whatever the order, and in the usual one each row group is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

Codes = npt.NDArray[np.int64]

#: Offsets in a block.
BLOCK_BITS = 10
#: Decisions of a window, about, and of the row groups that are kept for later windows.
WINDOW_ROWS, KEPT_ROWS = 50_000, 250_000
#: Bits of a code below the partition: those of the number of a block.
_BITS = 44


def _codes(table: pa.Table) -> Codes:
    """Partition and block of each row, in one number: int64 (n,)."""
    partitions, offsets = (table[name].to_numpy().astype(np.int64) for name in ("partition", "offset"))
    return np.asarray((partitions << _BITS) | (offsets >> BLOCK_BITS))


@dataclass(frozen=True)
class _Piece:
    """A row group. windows: those that need it, ascending."""

    rows: dataset.Fragment
    n: int
    windows: tuple[int, ...]


@dataclass(frozen=True)
class Days:
    """First and last event day, and how many decisions there are between them."""

    first: date
    last: date
    decisions: int

    def with_more(self, day: date, decisions: int) -> Days:
        """These and those of another day."""
        return Days(min(self.first, day), max(self.last, day), self.decisions + decisions)


class Stretch:
    """The decisions of some event days.

    n: how many rows there are. days: of which event days they are, by feature view; None for records that are no
    decisions. partitions: the first and the last offset of each.
    """

    def __init__(
        self, stored: dataset.Dataset, first: date | None = None, last: date | None = None, window: int = WINDOW_ROWS
    ) -> None:
        """Counts the rows of event days, `first` and `last` among them; None for all. window: see WINDOW_ROWS."""
        self._schema = stored.schema
        self.n = 0
        self.days: dict[str | None, Days] = {}
        self.partitions: dict[int, tuple[int, int]] = {}
        groups: list[tuple[dataset.Fragment, Codes, Codes]] = []
        for fragment in stored.get_fragments(filter=_within(first, last)):
            for group in fragment.split_by_row_group():
                places = group.to_table(schema=self._schema, columns=["partition", "offset", "view", "day"])
                if places.num_rows:
                    self._note(places)
                    groups.append((group, *np.unique(_codes(places), return_counts=True)))
        self._plan(groups, window)

    def _note(self, places: pa.Table) -> None:
        self.n += places.num_rows
        for row in places.group_by("partition").aggregate([("offset", "min"), ("offset", "max")]).to_pylist():
            first, last = row["offset_min"], row["offset_max"]
            before = self.partitions.get(row["partition"], (first, last))
            self.partitions[row["partition"]] = min(before[0], first), max(before[1], last)
        for row in places.group_by(["view", "day"]).aggregate([([], "count_all")]).to_pylist():
            day, n = row["day"], row["count_all"]
            self.days[row["view"]] = self.days.get(row["view"], Days(day, day, 0)).with_more(day, n)

    def _plan(self, groups: list[tuple[dataset.Fragment, Codes, Codes]], window: int) -> None:
        """Give each block of each partition its window."""
        nothing = np.zeros(0, dtype=np.int64)
        blocks = np.concatenate([nothing, *(codes for _, codes, _ in groups)])
        self._blocks, at = np.unique(blocks, return_inverse=True)
        counts = np.zeros(len(self._blocks), dtype=np.int64)
        np.add.at(counts, at, np.concatenate([nothing, *(counts for _, _, counts in groups)]))
        self._count = max(1, -(-self.n // window))
        self._window_of = np.zeros(len(self._blocks), dtype=np.int64)
        partition_of = self._blocks >> _BITS
        for partition in self.partitions:
            mine = partition_of == partition
            before = np.cumsum(counts[mine]) - counts[mine]
            self._window_of[mine] = before * self._count // int(counts[mine].sum())
        self._pieces = [
            _Piece(group, int(counts.sum()), tuple(np.unique(self._windows(codes)).tolist()))
            for group, codes, counts in groups
        ]

    def _windows(self, codes: Codes) -> Codes:
        return np.asarray(self._window_of[np.searchsorted(self._blocks, codes)])

    def parts(self) -> Iterator[tuple[int, pa.Table]]:
        """Rows of one partition in the order of their offsets, with the partition: again and again, until all are read.

        What comes of a partition goes on where the last part of it ended.
        """
        needed: list[list[int]] = [[] for _ in range(self._count)]
        for number, piece in enumerate(self._pieces):
            for window in piece.windows:
                needed[window].append(number)
        kept: dict[int, tuple[pa.Table, Codes]] = {}
        for window, numbers in enumerate(needed):
            found = []
            for number in numbers:
                if number not in kept:
                    table = self._pieces[number].rows.to_table(schema=self._schema)
                    kept[number] = table, self._windows(_codes(table))
                table, windows = kept[number]
                found.append(table.filter(pa.array(windows == window)))
                self._forget(kept, window, number)
            if found:
                yield from _by_partition(pa.concat_tables(found))

    def _forget(self, kept: dict[int, tuple[pa.Table, Codes]], window: int, done: int) -> None:
        """Drop row groups that nothing needs any more, then those needed latest, until few rows are kept.

        done: the last row group of which the window has its rows.
        """
        after = {
            number: next((w for w in self._pieces[number].windows if (w, number) > (window, done)), None)
            for number in kept
        }
        for number in sorted(kept, key=lambda number: -(after[number] or 0)):
            if after[number] is None or sum(self._pieces[one].n for one in kept) > KEPT_ROWS:
                del kept[number]


def _within(first: date | None, last: date | None) -> dataset.Expression | None:
    day, both = dataset.field("day"), None
    for one in (None if first is None else day >= pa.scalar(first), None if last is None else day <= pa.scalar(last)):
        if one is not None:
            both = one if both is None else both & one
    return both


def _by_partition(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    rows = rows.sort_by([("partition", "ascending"), ("offset", "ascending")])
    partitions = rows["partition"].to_numpy()
    starts = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        yield int(partitions[start]), rows.slice(start, end - start)


def split(rows: pa.Table) -> tuple[pa.Table, list[int]]:
    """The rows that are decisions, and the offsets of those that are none."""
    is_good = pc.is_null(rows["problem"])
    return rows.filter(is_good), rows.filter(pc.invert(is_good))["offset"].to_pylist()
