"""Takes events of the same row one after the other, and those of different rows together."""

from __future__ import annotations

from collections.abc import Iterator

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
