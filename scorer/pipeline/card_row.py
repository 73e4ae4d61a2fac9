"""The packed row of a card: a ring of buckets for each window, and when the card starts anew.

A row holds a ring of buckets for each window of `view.WINDOWS`. A window covers the event's own bucket and as many
before it as its ring has room for; a newer bucket replaces the one a full ring older.

A card starts anew, as if it had never been seen,

* with an event at least `SPAN_DAYS` after its newest one, which has nothing in its windows anyway;
* with any event once its newest one is `IDLE_DAYS` behind the partition's clock (`scorer.pipeline.clock`). That makes a
  difference only to an event that comes more than `LATE_DAYS` late.
"""

from __future__ import annotations

import numpy as np

from scorer.pipeline.clock import NO_DAY
from scorer.pipeline.instants import DAY_MS
from scorer.pipeline.view import WINDOWS

#: Version of the packed layout. Raise it when WINDOWS or REMEMBERED change.
LAYOUT = 1
#: Layout of a place without a card, and of a card that was dropped up to some offset and not seen since.
FREE, GRAVE = 0, 2**32 - 1
#: How many of its last transaction ids a row remembers, to recognise repeats.
REMEMBERED = 4

SIZES = np.array([seconds * 1000 for _, seconds, _ in WINDOWS], dtype=np.int64)
LENGTHS = np.array([n for _, _, n in WINDOWS], dtype=np.int64)
# Of each bucket of a row: its window, its place in that window's ring, and the length of the ring.
WINDOW_OF = np.repeat(np.arange(len(WINDOWS)), LENGTHS)
STARTS = np.concatenate(([0], np.cumsum(LENGTHS)[:-1]))
PLACE = np.arange(LENGTHS.sum()) - STARTS[WINDOW_OF]
RING = LENGTHS[WINDOW_OF]
#: The window whose buckets are days.
DAY = SIZES.tolist().index(DAY_MS)
#: Days after which an event has left every window.
SPAN_DAYS = -int((-SIZES * LENGTHS // DAY_MS).min())
#: Days that an event may be late, behind its partition's clock, and still see all that its card did in its windows.
LATE_DAYS = 7
#: Days behind its partition's clock after which a card starts anew.
IDLE_DAYS = SPAN_DAYS + LATE_DAYS

#: Row of a card. `heads`: number of the newest bucket of each window. `counts`, `sums`: transactions and their minor
#: units in each bucket. `offset`: highest source offset absorbed. `ids`: hashes of its last transaction ids, newest
#: first, 0 for none.
ROW = np.dtype(
    [
        ("layout", "<u4"),
        ("heads", "<i4", len(WINDOWS)),
        ("counts", "<u4", len(RING)),
        ("offset", "<i8"),
        ("ids", "<u8", REMEMBERED),
        ("sums", "<i8", len(RING)),
    ],
    align=True,
)
#: What follows a row where the view asks for the time since the card's last transaction: that time, in milliseconds
#: since 1970. A row without it is read as one that does not know it.
LAST = np.dtype("<i8")
#: The time of a card that has no last transaction, or whose row does not tell it.
NO_TIME = -(2**62)
#: A row as plain bytes, which numpy copies several times faster than fields.
RAW = np.dtype((np.void, ROW.itemsize))
#: The row of a card that has not been seen.
BLANK = np.zeros(1, dtype=ROW)
BLANK["layout"], BLANK["offset"], BLANK["heads"] = LAYOUT, -1, NO_DAY
RAW_BLANK = BLANK.view(RAW)[0]
