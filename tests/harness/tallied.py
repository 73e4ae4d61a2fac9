"""Tallies of a slot written straight into the store, by the store's own script: a shadow's work without its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from shadow.advance import Advance, Pair
from shadow.clean import CRITERIA, VIEW
from shadow.connection import connect
from shadow.segments import Segments
from shadow.store import Applied, TallyStore
from shadow.tally import CAP_PARTS, CAPPED, COLUMNS, COUNTS, ERRORS, MINOR, SQUARES, Run

#: Cents of every transaction, and the share of a cap of 500.00 that it is.
MINOR_EACH, CAP = 5_000, 50_000
#: An hour, 2026-01-01 at midnight, since 1970.
FIRST_HOUR = 490_896


def an_hour(
    run: Run, hour: int, counts: Sequence[Sequence[int]], segments: Segments, errors: int = 0, source: int = 0
) -> Advance:
    """counts: transactions by outcome in each cell of the first division of the traffic, or in all of it. Every
    disagreement is of another card."""
    names = segments.names
    sums = np.zeros((len(names), COLUMNS), dtype=np.int64)
    what = Advance(tallies={(run, hour): sums}, source=source)
    for cell, outcomes in enumerate(counts):
        mine = (0, 1 + cell) if segments.root else (0,)
        n = np.array(outcomes, dtype=np.int64)
        for at in mine:
            sums[at, COUNTS] += n
            sums[at, MINOR] += n * MINOR_EACH
            sums[at, CAPPED] += n[1:] * MINOR_EACH
            sums[at, SQUARES] += n[2:] * (MINOR_EACH * CAP_PARTS // CAP) ** 2
        for code in (2, 3):
            cards = (f"{hour}-{cell}-{code}-{card}" for card in range(outcomes[code]))
            what.pairs += [Pair(run, hour // 24, hour, card, code == 2, mine) for card in cards]
    sums[0, ERRORS] = errors
    what.meta[run] = {"live_digest": "a" * 64, "candidate_digest": "b" * 64, "first_offset": "0"}
    what.meta[run] |= {"live_threshold": "0.5", "candidate_threshold": "0.5"}
    what.marks[run] = {VIEW: "view", CRITERIA: "criteria"}
    what.reach[run] = source + 1
    return what


def fill(address: str, slot: str, run: Run, hours: int, counts: Sequence[Sequence[int]], segments: Segments) -> None:
    """So many hours of the same counts, in partition 0 of a slot. address: host:port."""

    async def go() -> None:
        redis = connect(f"redis://{address}/0")
        store = TallyStore(redis, slot, segments.names)
        fence = await store.open_partition(0, 0)
        for hour in range(hours):
            what = an_hour(run, FIRST_HOUR + hour, counts, segments, source=fence.next)
            done = await store.advance(0, fence, fence.next + 1, what)
            assert isinstance(done, Applied), done
            fence = await store.open_partition(0, 0)
        await redis.aclose()

    asyncio.run(go())
