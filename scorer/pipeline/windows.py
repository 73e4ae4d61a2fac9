"""What events see in the windows that a view declares, and how they are added to these.

As with card velocity, an event sees what its card did before it arrived, without itself; a repeat, a refund, and an
event dated too far ahead add nothing. An event that lacks a key of a window sees none, and one that lacks what a window
adds up adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.pipeline import distinct
from scorer.pipeline.card_row import IDLE_DAYS
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.instants import DAY_MS
from scorer.pipeline.turns import Order, in_order, unranked
from scorer.pipeline.window import AMOUNT, DISTINCT, Track
from scorer.pipeline.window_columns import WindowColumns, window_events
from scorer.pipeline.window_row import idle_days
from scorer.pipeline.window_states import Windows, text_of

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
class Rows:
    """The rows that n events have of some keys, which are the same in every track of these keys.

    texts: what each of r rows is known by, one partition after the other. bounds: where the rows of each partition
    begin, and r. order: of the events that have a row, in turns. events: int64 (n,), positions of those in the batch;
    None for all.
    """

    texts: Sequence[str]
    bounds: Sequence[int]
    order: Order
    events: Ints | None = None


def rows_of_cards(cards: Sequence[str], places: Ints, bases: Ints, order: Order | None) -> Rows | None:
    """The rows of windows without keys; None without events.

    cards: of n events. places: int64 (n,), of the cards' own rows; those of the i-th partition begin at bases[i].
    order: of the places, if that is known.
    """
    if not len(cards):
        return None
    order = order or in_order(places)
    firsts = unranked(order.events[: len(order.rows)], order)
    bounds = np.searchsorted(order.rows, bases).tolist()
    return Rows([text_of(cards[at]) for at in firsts.tolist()], bounds, order)


def rows_of_keys(texts: Sequence[str | None], cuts: Sequence[slice]) -> Rows | None:
    """The rows of windows with keys; None if no event has one.

    texts: what the row of each of n events is known by, None where it lacks a key. cuts: which events are each
    partition's, one after the other.
    """
    distinct_texts: list[str] = []
    bounds, numbers = [0], []
    for cut in cuts:
        its = dict.fromkeys(texts[cut])
        its.pop(None, None)
        number: dict[str | None, int] = {text: at for at, text in enumerate(its, len(distinct_texts))}
        number[None] = -1
        numbers += [number[text] for text in texts[cut]]
        distinct_texts += [text for text in its if text is not None]
        bounds.append(len(distinct_texts))
    if not distinct_texts:
        return None
    rows = np.array(numbers, dtype=np.int64)
    present = np.flatnonzero(rows >= 0)
    if len(present) == len(rows):
        return Rows(distinct_texts, bounds, in_order(rows))
    return Rows(distinct_texts, bounds, in_order(rows[present]), present)


@dataclass(frozen=True)
class Taken:
    """n events as windows take them.

    rows: of each combination of keys; None if no event has all of them. numbers: attributes that are added up: float64
    (n,), NaN where missing. values: what is told apart: of each event, uint64 (n,), and whether it has one, bool (n,).
    adds: which events count: bool (n,). floors: int64 (n,), the newest day of a card that starts anew with each event.
    """

    rows: Mapping[tuple[str, ...], Rows | None]
    numbers: Mapping[str, Floats]
    occurred_ms: Ints
    minor: Ints
    offsets: Ints
    adds: Bools
    floors: Ints
    values: Mapping[str, tuple[distinct.Values, Bools]] = field(default_factory=dict)


def observe(
    windows: Sequence[Windows], tracks: Sequence[Track], events: Taken, units: float
) -> tuple[dict[str, Totals], Callable[[], None]]:
    """Note what events see in each track, by its id, then add them, in order; and what puts all rows back.

    windows: of each partition. units: minor units in one.
    """
    seen: dict[str, Totals] = {}
    put_back: list[Callable[[], None]] = []

    def undo() -> None:
        for put in reversed(put_back):
            put()

    try:
        days = events.occurred_ms // DAY_MS
        for track in tracks:
            seen[track.id] = _observe(windows, track, events, days, units, put_back)
    except BaseException:
        undo()
        raise
    return seen, undo


def _observe(
    windows: Sequence[Windows],
    track: Track,
    events: Taken,
    days: Ints,
    units: float,
    put_back: list[Callable[[], None]],
) -> Totals:
    """`observe` of one track. days: int64 (n,), of the events."""
    n = len(events.offsets)
    totals = Totals(np.full(n, np.nan), np.full(n, np.nan))
    rows = events.rows[track.keys]
    if rows is None:
        return totals
    order = rows.order
    positions = order.events if rows.events is None else rows.events[order.events]
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
    floors = np.maximum(events.floors + (IDLE_DAYS - idle_days(track)), NO_DAY)
    in_turns = window_events(track, events.occurred_ms, days, floors, events.offsets, adds, value).at(positions)

    mine = [(part.of(track), cut) for part, cut in zip(windows, map(slice, rows.bounds, rows.bounds[1:]), strict=True)]
    places = [states.find(rows.texts[cut]) for states, cut in mine]
    was = np.concatenate([states.take(its) for (states, _), its in zip(mine, places, strict=True)])
    columns = WindowColumns(track, was[order.ranked])
    counts: list[Ints] = []
    sums: list[npt.NDArray[Any]] = []
    for start, end in pairwise((0, *order.ends.tolist())):
        its_counts, its_sums = columns.add(in_turns.at(slice(start, end)))
        counts.append(its_counts)
        if its_sums is not None:
            sums.append(its_sums)
    totals.counts[positions] = np.concatenate(counts)
    totals.sums[positions] = np.concatenate(sums) if sums else 0.0
    if track.of == AMOUNT:
        np.divide(totals.sums, units, out=totals.sums)
    if columns.changed.any():
        changed, now = unranked(columns.changed, order), unranked(columns.raw(), order)
        for (states, cut), its in zip(mine, places, strict=True):
            moved = changed[cut]
            if moved.any():
                put_back.append(partial(states.put, its[moved], was[cut][moved]))
                put_back.append(states.note(its[moved]))
                states.put(its[moved], now[cut][moved])
    return totals
