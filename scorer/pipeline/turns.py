"""Takes events of the same row one after the other, and those of different rows together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def turns(places: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of each row's first event, then of each row's second, and so on; the rows' places ascend in each."""
    order = np.argsort(places, kind="stable")
    ranked = places[order]
    first = np.concatenate(([True], ranked[1:] != ranked[:-1]))
    starts = np.flatnonzero(first)
    rank = np.arange(len(places)) - np.repeat(starts, np.diff(np.append(starts, len(places))))
    if rank.max() == 0:
        yield order
        return
    by_rank = order[np.argsort(rank, kind="stable")]
    cuts = np.cumsum(np.bincount(rank))
    start = 0
    for cut in cuts:
        yield by_rank[start:cut]
        start = cut


@dataclass(frozen=True, slots=True)
class Order:
    """Events in turns, in which the rows with the most events come first: so each turn is of the first ones of them.

    rows: int64 (r,), distinct places, ascending; ranked: int64 (r,), positions in `rows`, most events first. events:
    int64 (n,), positions of the events, turn by turn, in each in that order. ends: where each turn ends.
    """

    rows: npt.NDArray[np.int64]
    ranked: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def in_order(places: npt.NDArray[np.int64]) -> Order:
    """Events in turns. places: int64 (n,), n > 0, of the row of each event."""
    by_place = np.argsort(places, kind="stable")
    sorted_places = places[by_place]
    starts = np.flatnonzero(np.concatenate(([True], sorted_places[1:] != sorted_places[:-1])))
    sizes = np.diff(np.append(starts, len(places)))
    ranked = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(ranked)
    rank[ranked] = np.arange(len(ranked))
    turn = np.arange(len(places)) - np.repeat(starts, sizes)
    ends = np.cumsum(np.bincount(turn))
    events = np.empty_like(by_place)
    events[np.concatenate(([0], ends[:-1]))[turn] + np.repeat(rank, sizes)] = by_place
    return Order(sorted_places[starts], ranked, events, ends)
