"""Which cases of a review queue count, as `shadow.labels.queue` has it, but with arrays; a test holds both together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def in_turn(queue: Array, day: Array, is_open: Array) -> Array:
    """The cases that count, of a queue by hash: up to the first open one, of the days up to the one with most."""
    answered = np.flatnonzero(~is_open)
    if not len(answered):
        return queue[:0]
    n = int(answered[-1]) + 1
    queue, day, is_open = queue[:n], day[:n], is_open[:n]
    first = np.full(int(day.max()) + 1, n)  # position of the first open case of the days up to each
    np.minimum.at(first, day[is_open], np.flatnonzero(is_open))
    first = np.minimum.accumulate(first)
    last = np.arange(len(first))
    counts = (day[:, None] <= last) & (np.arange(n)[:, None] < first)
    best = int(last[::-1][counts.sum(axis=0)[::-1].argmax()])
    return np.asarray(queue[counts[:, best]])
