"""Tallies of a former version: found, told apart, and deleted, so that their runs are counted anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from shadow.comparison.totals import event_days
from shadow.store.keys import TOTAL


async def forget(redis: Any, prefix: str, slot: str, partition: int, segments: Sequence[str]) -> int | None:
    """Delete what the first version kept of a partition, and what names cards. Returns the offset up to which it had
    counted, None if there is nothing.

    The first version had no number in its keys, and plain digests of cards. What expires by itself is left to do so.
    """
    base = f"{prefix}:{{{slot}:{partition}}}"
    counted = await redis.hget(f"{base}:fence", "next")
    if counted is None:
        return None
    for run in await redis.smembers(f"{base}:runs"):
        name = run.decode()
        hours = np.array([int(hour) for hour in await redis.smembers(f"{base}:hours:{name}")], dtype=np.int64)
        for key in _of_run(base, name, sorted(set(event_days(hours).tolist())), segments):
            await redis.unlink(key)
    for key in ("runs", "gaps", "why", "fence"):  # the fence last: whoever stops half-way begins again
        await redis.unlink(f"{base}:{key}")
    return int(counted)


def _of_run(base: str, run: str, days: Sequence[int], segments: Sequence[str]) -> Iterator[str]:
    for kind in ("pairs", "s", "r", "tau"):
        yield from (f"{base}:{kind}:{run}:{day}" for day in days)
    yield from (f"{base}:{kind}:{run}:run" for kind in ("s", "r", "tau"))
    yield from (f"{base}:{kind}:{run}:{TOTAL}:{segment}" for kind in "th" for segment in segments)
    yield from (f"{base}:{kind}:{run}" for kind in ("run", "resets", "hours"))
