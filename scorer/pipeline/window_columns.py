"""Rows of one track as columns, while a batch is added to them; as `scorer.pipeline.card_columns` for cards.

A column for each bucket, with the rows side by side, those with the most events first: so each turn works on the first
k of every column, and rows are neither taken nor put back in between. A row to which nothing is added stays as it is,
to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline import distinct
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.window import BUCKETS, Track
from scorer.pipeline.window_row import LIVE, row_type

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# What an event sees of a ring follows from the place of the ring's head and from how many buckets the event is after
# it, where BUCKETS or more are all alike. So it is looked up instead of compared bucket by bucket.
_REACH = 2 * BUCKETS + 1
_AFTER = np.arange(-BUCKETS, BUCKETS + 1)[None, :, None]
_BEHIND = ((np.arange(BUCKETS)[:, None] - np.arange(BUCKETS)) % BUCKETS)[:, None, :]
#: Whether each place is within the window: bool (BUCKETS * _REACH, BUCKETS).
_INSIDE = ((_BEHIND >= -_AFTER) & (_BEHIND < BUCKETS - _AFTER)).reshape(-1, BUCKETS)
#: The same as a column of masks of 64 bits for each place, and as one mask with a bit for each place.
_WHOLE = np.ascontiguousarray(np.where(_INSIDE.T, np.int64(-1), np.int64(0)))
_BITS = distinct.bits(_INSIDE)
_ALL_BITS = np.uint16(2**BUCKETS - 1)


def _looks(places: Ints) -> Ints:
    """Where in the tables it is what an event sees that is in the bucket of its ring's head: int64 (k,); so many
    further on for one that is so many buckets after it. places: int64 (k,), of the heads."""
    return places * _REACH + BUCKETS


@dataclass(frozen=True, slots=True)
class WindowEvents:
    """n events as columns: int64 (n,) each, but for `adds` and `value`.

    buckets, days: of their times; places: of the buckets in the rings; looks: see `_looks`, once the event is the head;
    floors: the newest day of a row that starts anew with the event; offsets: on the source. adds: bool (n,), whether
    the event counts. value: (n,), what is added up or told apart; None for a count.
    """

    buckets: Ints
    places: Ints
    looks: Ints
    days: Ints
    floors: Ints
    offsets: Ints
    adds: Bools
    value: npt.NDArray[Any] | None

    def at(self, which: Ints | slice) -> WindowEvents:
        """Those at some positions, in that order."""
        return WindowEvents(
            self.buckets[which],
            self.places[which],
            self.looks[which],
            self.days[which],
            self.floors[which],
            self.offsets[which],
            self.adds[which],
            None if self.value is None else self.value[which],
        )


def window_events(
    track: Track,
    occurred_ms: Ints,
    days: Ints,
    floors: Ints,
    offsets: Ints,
    adds: Bools,
    value: npt.NDArray[Any] | None,
) -> WindowEvents:
    """Events as the windows of a track take them. occurred_ms: milliseconds since 1970."""
    buckets = occurred_ms // track.bucket_ms
    places = buckets % BUCKETS
    return WindowEvents(buckets, places, _looks(places), days, floors, offsets, adds, value)


class WindowColumns:
    """The rows of c cards and keys. raw: their bytes, (c,), which are changed; `raw` has them as they are after the
    turns. changed: bool (c,), whether anything was added to each."""

    def __init__(self, track: Track, raw: npt.NDArray[np.void]) -> None:
        self._raw, self._rows = raw, raw.view(row_type(track))
        rows = self._rows
        self._heads, self._offsets = rows["head"].copy(), rows["offset"].copy()
        self._days = rows["day"].astype(np.int64)
        self._looks = _looks(self._heads % BUCKETS)
        self.changed = np.zeros(len(rows), dtype=bool)
        self._ring: _Ring | _DistinctRing = _DistinctRing(rows) if track.is_distinct else _Ring(rows)

    def raw(self) -> npt.NDArray[np.void]:
        """The rows, as bytes: (c,). Those that have not `changed` are as they were."""
        rows = self._rows
        rows["head"], rows["day"], rows["offset"] = self._heads, self._days, self._offsets
        rows["layout"][self.changed] = LIVE
        self._ring.write(rows, self.changed)
        return self._raw

    def add(self, turn: WindowEvents) -> tuple[Ints, npt.NDArray[Any] | None]:
        """Add an event to each of the first k rows; what it saw before that: (k,) counts, and sums if there are any."""
        k = len(turn.buckets)
        heads, looks, days, offsets = self._heads[:k], self._looks[:k], self._days[:k], self._offsets[:k]
        goes_on = turn.offsets <= offsets
        added = turn.adds & ~goes_on
        goes_on |= days > turn.floors
        after = np.minimum(turn.buckets - heads, BUCKETS)
        np.maximum(after, -BUCKETS, out=after)
        if not goes_on.all():  # a row that starts anew is one whose ring is over
            starts_anew = ~goes_on
            after[starts_anew] = BUCKETS
            days[starts_anew & added] = NO_DAY
        seen = looks + after
        moves = added & (after > 0)
        fits = added & (after > -BUCKETS)
        np.copyto(heads, turn.buckets, where=moves)
        np.copyto(looks, turn.looks, where=moves)
        np.copyto(offsets, turn.offsets, where=added)
        np.copyto(days, turn.days, where=added & (turn.days > days))
        self.changed[:k] |= added
        return self._ring.add(seen, moves, fits, heads, turn)


class _Ring:
    """Counts and sums in the buckets.

    `add` takes, of the first k rows: seen, int64 (k,), where in the tables it is what the event sees; moves, whether
    the ring's head moves to the event's bucket; fits, whether it is added; heads, where the heads are then.
    """

    def __init__(self, rows: npt.NDArray[np.void]) -> None:
        sums = rows["sums"] if "sums" in (rows.dtype.names or ()) else None
        self._is_float = sums is not None and sums.dtype.kind == "f"
        # Counts, then sums, as their bits: so a mask empties either, whatever a sum has come to.
        self._cells = np.empty((1 if sums is None else 2, BUCKETS, len(rows)), dtype=np.int64)
        self._cells[0] = rows["counts"].T
        if sums is not None:
            self._cells[1] = sums.view(np.int64).T

    def write(self, rows: npt.NDArray[np.void], changed: Bools) -> None:
        rows["counts"] = self._cells[0].T
        if len(self._cells) > 1:
            rows["sums"].view(np.int64)[:] = self._cells[1].T

    def add(
        self, seen: Ints, moves: Bools, fits: Bools, heads: Ints, turn: WindowEvents
    ) -> tuple[Ints, npt.NDArray[Any] | None]:
        k = len(seen)
        cells, stays = self._cells[:, :, :k], _WHOLE.take(seen, axis=1)
        inside = cells & stays
        counts: Ints
        sums: npt.NDArray[Any] | None = None
        if self._is_float:
            counts, sums = np.add.reduce(inside[0]), _sum(inside[1].view(np.float64))
        else:
            counts, *rest = np.add.reduce(inside, axis=1)
            sums = rest[0] if rest else None
        stays |= moves - np.int64(1)  # where the head moves on, what is older than the window goes
        cells &= stays
        at = turn.places, np.arange(k)
        cells[0][at] += fits
        if turn.value is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                cells[1].view(turn.value.dtype)[at] += np.where(fits, turn.value, 0)
        return counts, sums


class _DistinctRing:
    """Distinct values and their buckets; as `_Ring`."""

    def __init__(self, rows: npt.NDArray[np.void]) -> None:
        self._values, self._masks = rows["values"].copy(), rows["masks"].copy()

    def write(self, rows: npt.NDArray[np.void], changed: Bools) -> None:
        is_none = self._masks == 0
        is_none &= changed[:, None]
        self._values[is_none] = 0
        rows["values"], rows["masks"] = self._values, self._masks

    def add(
        self, seen: Ints, moves: Bools, fits: Bools, heads: Ints, turn: WindowEvents
    ) -> tuple[Ints, npt.NDArray[Any] | None]:
        k = len(seen)
        values, masks, inside = self._values[:k], self._masks[:k], _BITS[seen]
        counts = distinct.seen(masks, inside)
        masks &= np.where(moves, inside, _ALL_BITS)[:, None]
        assert turn.value is not None  # noqa: S101 - a track that tells values apart has them
        distinct.add(values, masks, fits, heads, turn.buckets, turn.value)
        return counts, None


def _sum(cells: Floats) -> Floats:
    """The sum of each column: (k,), added row by row, so that it does not depend on how many columns there are."""
    total: Floats = cells[0].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(1, len(cells)):
            total += cells[at]
    return total
