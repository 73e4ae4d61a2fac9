"""Tallies of a slot written straight into the store, by the store's own script: a shadow's work without its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from shadow.comparison.card_days import DIRECTIONS, Blocked
from shadow.comparison.increment import Increment, add
from shadow.comparison.resets import CRITERIA, VIEW
from shadow.comparison.segments import Segments
from shadow.comparison.totals import CAP_PARTS, CAPPED, COLUMNS, COUNTS, ERRORS, MINOR, Run
from shadow.store.connection import connect
from shadow.store.tallies import Applied, TallyStore

#: Cents of every transaction, and the share of a cap of 500.00 that it is.
MINOR_EACH, CAP = 5_000, 50_000
#: An hour, 2026-01-01 at midnight, since 1970.
FIRST_HOUR = 490_896


def an_hour(
    run: Run, hour: int, counts: Sequence[Sequence[int]], segments: Segments, errors: int = 0, source: int = 0
) -> Increment:
    """counts: transactions by outcome in each cell of the first division of the traffic, or in all of it. Every
    blocked one is of another card. All are below the cap, and in its segment if there is one."""
    names = segments.names
    below = tuple(names.index(name) for name in names if name == f"amount=<{CAP // 100}")
    sums = np.zeros((len(names), COLUMNS), dtype=np.int64)
    what = Increment(tallies={(run, hour): sums}, source=source)
    for cell, outcomes in enumerate(counts):
        mine = ((0, 1 + cell) if segments.root else (0,)) + below
        n = np.array(outcomes, dtype=np.int64)
        for at in mine:
            sums[at, COUNTS] += n
            sums[at, MINOR] += n * MINOR_EACH
            sums[at, CAPPED] += n[1:] * MINOR_EACH
        for side in DIRECTIONS:
            cards = (f"{hour}-{cell}-{side.key}-{card}" for card in range(outcomes[side]))
            what.blocked += [Blocked(run, hour, card, side, MINOR_EACH * CAP_PARTS // CAP, mine) for card in cards]
    sums[0, ERRORS] = errors
    what.meta[run] = {"live_digest": "a" * 64, "candidate_digest": "b" * 64, "first_offset": "0"}
    what.meta[run] |= {"live_threshold": "0.5", "candidate_threshold": "0.5"}
    what.marks[run] = {VIEW: "view", CRITERIA: "criteria"}
    what.reach[run] = source + 1
    return what


def fill(address: str, slot: str, run: Run, hours: int, counts: Sequence[Sequence[int]], segments: Segments) -> None:
    """So many hours of the same counts, in partition 0 of a slot. address: host:port.

    All at once: whoever reads the store meanwhile sees none of these hours, or all.
    """

    async def go() -> None:
        redis = connect(f"redis://{address}/0")
        store = TallyStore(redis, slot, segments.names)
        fence = await store.open_partition(0, 0)
        what = Increment()
        for hour in range(hours):
            add(what, an_hour(run, FIRST_HOUR + hour, counts, segments, source=fence.next + hour))
        done = await store.apply(0, fence, fence.next + hours, what)
        assert isinstance(done, Applied), done
        await redis.aclose()

    asyncio.run(go())
