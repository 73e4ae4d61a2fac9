"""A page of the samples that a question means, and the place at which the next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from shadow.comparison.index import first
from shadow.exploration import cursor
from shadow.exploration.question import Question
from shadow.exploration.table import Rows, Table

Sort = Literal["time", "amount", "gap"]


@dataclass(frozen=True)
class Page:
    """rows: int64, in order. next: the cursor of the next page, None on the last one. total: samples that match."""

    rows: Rows
    next: str | None
    total: int


def page(table: Table, rows: Rows, asked: Question, sort: Sort, ascending: bool, limit: int, begin: str | None) -> Page:
    """A page. rows: those that match. begin: the cursor of the page before. Raises BadCursorError."""
    of = f"{asked.digest}:{sort}:{ascending}"
    keys, hashes = table.sort_keys(sort, rows), table.entries["hash"][rows]
    left = rows
    if begin is not None:
        at = cursor.read(begin, of)
        if ascending:
            behind = (keys > at.key) | ((keys == at.key) & (hashes > at.hash))
        else:
            behind = (keys < at.key) | ((keys == at.key) & (hashes < at.hash))
        left, keys, hashes = rows[behind], keys[behind], hashes[behind]
    order = first(keys, hashes, limit, ascending)
    following = None
    if len(left) > limit:
        last = order[-1]
        following = cursor.written(cursor.Place(float(keys[last]), float(hashes[last])), of)
    return Page(left[order], following, len(rows))


def noise_floor(table: Table, rows: Rows, share: float = 0.95) -> float | None:
    """The size of gap that this share of an A/A control's disagreements stays below: what two equal models differ by.

    table, rows: of the control. None without any.
    """
    sizes = np.abs(table.gaps[rows])
    is_known = ~np.isnan(sizes)
    sizes, weights = sizes[is_known], 1 / table.chances[rows][is_known]
    if not len(sizes):
        return None
    order = np.argsort(sizes)
    reached = np.cumsum(weights[order])
    return float(sizes[order][np.searchsorted(reached, share * reached[-1])])
