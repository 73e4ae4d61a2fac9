"""What events see in the windows that a view declares, and how they are added to these.

As with card velocity, an event sees what its card did before it arrived, without itself; a repeat, a refund, and an
event dated too far ahead add nothing. An event that lacks a key of a window sees none, and one that lacks what a window
adds up adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline import distinct
from scorer.pipeline.card_row import IDLE_DAYS
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.instants import DAY_MS
from scorer.pipeline.turns import turns
from scorer.pipeline.window import AMOUNT, BUCKETS, DISTINCT, Track
from scorer.pipeline.window_row import LIVE, blank_of, held, idle_days
from scorer.pipeline.window_states import Windows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Totals:
    """What n events saw in a track: float64 (n,) each, NaN for an event that lacks a key.

    counts: of distinct values, if the track tells these apart. sums: in units, 0 without `of`.
    """

    counts: Floats
    sums: Floats

    def of(self, aggregate: str) -> Floats:
        """float64 (n,); a mean of nothing is NaN."""
        if aggregate in ("count", DISTINCT):
            return self.counts
        if aggregate == "sum":
            return np.where(np.isfinite(self.sums), self.sums, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(self.counts > 0, self.sums / self.counts, np.nan)
        return np.where(np.isfinite(mean), mean, np.nan)


@dataclass(frozen=True)
class Taken:
    """n events as windows take them.

    texts: of each combination of keys, what each event's row is known by, None where it lacks one. numbers: attributes
    that are added up: float64 (n,), NaN where missing. values: what is told apart: of each event, uint64 (n,), and
    whether it has one, bool (n,). adds: which events count: bool (n,). floors: int64 (n,), the
    newest day of a card that starts anew with each event.
    """

    texts: Mapping[tuple[str, ...], Sequence[str | None]]
    numbers: Mapping[str, Floats]
    occurred_ms: Ints
    minor: Ints
    offsets: Ints
    adds: Bools
    floors: Ints
    values: Mapping[str, tuple[distinct.Values, Bools]] = field(default_factory=dict)


def observe(
    windows: Sequence[Windows], cuts: Sequence[slice], tracks: Sequence[Track], events: Taken, units: float
) -> tuple[dict[str, Totals], Callable[[], None]]:
    """Note what events see in each track, by its id, then add them, in order; and what puts all rows back.

    windows: of each partition. cuts: which events are the partition's, one after the other. units: minor units in one.
    """
    seen: dict[str, Totals] = {}
    put_back: list[Callable[[], None]] = []

    def undo() -> None:
        for put in reversed(put_back):
            put()

    try:
        for track in tracks:
            seen[track.id] = _observe(windows, cuts, track, events, units, put_back)
    except BaseException:
        undo()
        raise
    return seen, undo


def _observe(
    windows: Sequence[Windows],
    cuts: Sequence[slice],
    track: Track,
    events: Taken,
    units: float,
    put_back: list[Callable[[], None]],
) -> Totals:
    """`observe` of one track."""
    n = len(events.offsets)
    texts = events.texts[track.keys]
    totals = Totals(np.full(n, np.nan), np.full(n, np.nan))
    mine, work, bases = [], [], [0]
    rows_of = np.full(n, -1)
    for part, cut in zip(windows, cuts, strict=True):
        wanted, at = texts[cut], np.arange(cut.start, cut.stop)
        if None in wanted:
            at = np.array([i for i, text in enumerate(wanted, cut.start) if text is not None], dtype=np.int64)
        states = part.of(track)
        places, inverse = np.unique(states.find([text for text in wanted if text is not None]), return_inverse=True)
        rows_of[at] = inverse + bases[-1]
        bases.append(bases[-1] + len(places))
        mine.append((states, places))
        work.append(states.take(places))
    present = np.flatnonzero(rows_of >= 0)
    if not len(present):
        return totals
    rows = np.concatenate(work)
    was, changed = rows.copy(), np.zeros(len(rows), dtype=bool)
    value: npt.NDArray[Any] | None = None
    adds = events.adds
    if track.is_distinct:
        value, has_one = events.values[str(track.of)]
        adds = adds & has_one
    elif track.of == AMOUNT:
        value = events.minor
    elif track.of is not None:
        value = events.numbers[track.of]
        adds = adds & ~np.isnan(value)
    now, days = events.occurred_ms // track.bucket_ms, events.occurred_ms // DAY_MS
    floors = np.maximum(events.floors + (IDLE_DAYS - idle_days(track)), NO_DAY)
    for turn in turns(rows_of[present]):
        which = present[turn]
        at_rows = rows_of[which]
        row = rows[at_rows]
        given = None if value is None else value[which]
        added = _step(
            row, track, which, now[which], days[which], floors[which], events.offsets[which], adds[which], given, totals
        )
        rows[at_rows[added]] = row[added]
        changed[at_rows[added]] = True
    if track.of == AMOUNT and not track.is_distinct:
        np.divide(totals.sums, units, out=totals.sums)
    for (states, places), base in zip(mine, bases, strict=False):
        its = slice(base, base + len(places))
        moved = changed[its]
        if moved.any():
            put_back.append(partial(states.put, places[moved], was[its][moved]))
            put_back.append(states.note(places[moved]))
            states.put(places[moved], rows[its][moved])
    return totals


def _step(
    row: npt.NDArray[np.void],
    track: Track,
    which: Ints,
    now: Ints,
    days: Ints,
    floors: Ints,
    offsets: Ints,
    adds: Bools,
    value: npt.NDArray[Any] | None,
    totals: Totals,
) -> Bools:
    """Add one event to each of k rows, and note in `totals` what it saw; returns which were added: bool (k,).

    which: positions of the events. now, days: their bucket and day.
    """
    absorbed = offsets <= row["offset"]
    row[~absorbed & (row["day"] <= floors)] = blank_of(track)[0]
    head = row["head"]
    buckets = held(head)
    in_window = (buckets <= now[:, None]) & (buckets > now[:, None] - BUCKETS)
    added = adds & ~absorbed
    new_head = np.where(added, np.maximum(head, now), head)
    new_buckets = held(new_head)
    stale = new_buckets > buckets
    fits = added & (now > new_head - BUCKETS)
    if track.is_distinct and value is not None:
        totals.counts[which], totals.sums[which] = distinct.seen(row, in_window), 0.0
        distinct.add(row, stale, new_buckets, fits, now, value)
    else:
        totals.counts[which], totals.sums[which] = _summed(row, in_window)
        _add_up(row, stale, fits, now % BUCKETS, value)
    row["head"], row["layout"] = new_head, LIVE
    row["day"] = np.where(added, np.maximum(row["day"], days), row["day"])
    row["offset"] = np.maximum(row["offset"], offsets)
    return added


def _summed(row: npt.NDArray[np.void], in_window: Bools) -> tuple[Ints, Ints | Floats | float]:
    """Counts and sums of some places of the rings: (k,) each. in_window: bool (k, BUCKETS)."""
    counts = (row["counts"].astype(np.int64) * in_window).sum(axis=1)
    has_sums = "sums" in (row.dtype.names or ())
    return counts, _sum(np.where(in_window, row["sums"], 0)) if has_sums else 0.0


def _add_up(row: npt.NDArray[np.void], stale: Bools, fits: Bools, column: Ints, value: Ints | Floats | None) -> None:
    """Empty what is `stale`, then add an event to each row that it `fits`. column: the place of its bucket."""
    who, counts = np.arange(len(row)), row["counts"].astype(np.int64)
    counts[stale] = 0
    counts[who, column] += fits
    row["counts"] = counts
    if value is not None:
        sums = row["sums"].copy()
        sums[stale] = 0
        with np.errstate(over="ignore", invalid="ignore"):
            sums[who, column] += np.where(fits, value, 0)
        row["sums"] = sums


def _sum(cells: npt.NDArray[np.int64] | Floats) -> npt.NDArray[np.int64] | Floats:
    """The sum of each row: (k,), added column by column, so that it does not depend on how many rows there are."""
    total = cells[:, 0].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(1, cells.shape[1]):
            total += cells[:, at]
    return total
