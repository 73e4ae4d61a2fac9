"""Takes events of the same row one after the other, and those of different rows together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Numbers below this have 16 bits; of fewer than these it is not worth to look.
_SMALL, _MANY = 2**16, 1000


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
    by_place = _argsort(places)
    sorted_places = places[by_place]
    starts = np.flatnonzero(np.concatenate(([True], sorted_places[1:] != sorted_places[:-1])))
    sizes = np.diff(np.append(starts, len(places)))
    ranked = _argsort(sizes.max() - sizes)
    rank = np.empty_like(ranked)
    rank[ranked] = np.arange(len(ranked))
    turn = np.arange(len(places)) - np.repeat(starts, sizes)
    ends = np.cumsum(np.bincount(turn))
    events = np.empty_like(by_place)
    events[np.concatenate(([0], ends[:-1]))[turn] + np.repeat(rank, sizes)] = by_place
    return Order(sorted_places[starts], ranked, events, ends)


def _argsort(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions by number, equal ones in their order. numbers: int64 (n,), n > 0, from 0 on."""
    if len(numbers) >= _MANY and numbers.max() < _SMALL:
        return np.argsort(numbers.astype(np.uint16), kind="stable")  # numpy sorts these by digits, ten times as fast
    return np.argsort(numbers, kind="stable")


def unranked(values: npt.NDArray[Any], order: Order) -> npt.NDArray[Any]:
    """Values of rows in the order of their places. values: (r, …), in that of their turns."""
    out = np.empty_like(values)
    out[order.ranked] = values
    return out
