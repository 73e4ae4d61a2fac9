"""The packed row of a window: a ring of buckets for one card and one value of the window's keys.

Windows of one view that add up the same, of the same keys and over the same time, share a row: a sum and a mean do. One
that counts distinct values keeps these instead (`scorer.pipeline.distinct`). A row starts anew, as if there had been
none, with an event for which its newest one is `idle_days` behind the partition's clock (`scorer.pipeline.clock`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from scorer.pipeline.card_row import LATE_DAYS
from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.distinct import MASKS, VALUES
from scorer.pipeline.instants import DAY_MS
from scorer.pipeline.window import AMOUNT, BUCKETS, Track

#: State of a place: without a row; with one; with one that was dropped up to some offset and not seen since.
FREE, LIVE, GRAVE = 0, 1, 2**16 - 1
#: Before every bucket that an event can be in.
NO_BUCKET = -(2**60)
#: How the rows of every window begin. `idle`: days behind the clock after which it starts anew. `day`: of its newest
#: event, since 1970. `offset`: highest source offset absorbed. `head`: number of its newest bucket.
HEADER = [("layout", "<u2"), ("idle", "<u2"), ("day", "<i4"), ("offset", "<i8"), ("head", "<i8")]
COUNTS = ("counts", "<u4", (BUCKETS,))
MINOR, NUMBERS = ("sums", "<i8", (BUCKETS,)), ("sums", "<f8", (BUCKETS,))


def idle_days(track: Track) -> int:
    """Days behind the clock after which a row has nothing for an event that is at most LATE_DAYS late."""
    return -(-track.bucket_ms * BUCKETS // DAY_MS) + LATE_DAYS


@cache
def row_type(track: Track) -> np.dtype[np.void]:
    """Of a track's rows."""
    if track.is_distinct:
        return np.dtype([*HEADER, VALUES, MASKS])
    sums = [] if track.of is None else [MINOR if track.of == AMOUNT else NUMBERS]
    return np.dtype([*HEADER, COUNTS, *sums])


@cache
def blank_of(track: Track) -> npt.NDArray[np.void]:
    """The row of a card and keys that have not been seen: (1,)."""
    return blank(row_type(track), idle_days(track))


def blank(dtype: np.dtype[np.void], idle_days: int) -> npt.NDArray[np.void]:
    """A row that holds nothing: (1,)."""
    row = np.zeros(1, dtype=dtype)
    row["layout"], row["idle"], row["day"], row["offset"], row["head"] = LIVE, idle_days, NO_DAY, -1, NO_BUCKET
    return row
