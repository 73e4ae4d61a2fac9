"""Keeps how many complaints about blocks of an event day were reported, each report once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Any

import orjson

from shadow.store import keys

#: How long a day's reports are kept, in days, and how many of them at most.
KEPT_DAYS, MOST_REPORTS = 180, 5_000


class Kept(Enum):
    """What has become of a report."""

    NEW = "counted"
    KNOWN = "counted before"
    REPLACED = "replaced"
    DIFFERS = "differs"
    TOO_MANY = "too many"


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported of an event day. segments: complaints that were reported for one, by its name."""

    complaints: int = 0
    reports: int = 0
    segments: dict[str, int] = field(default_factory=dict)


class ComplaintStore:
    """The reports of all days. redis: an asyncio client of redis-py, whose errors are passed on."""

    def __init__(self, redis: Any, prefix: str = "shadow") -> None:
        self._redis, self._prefix = redis, prefix

    async def add(self, name: str, day: date, count: int, segment: str | None, replace: bool = False) -> Kept:
        """Keep a report, named by whoever sends it: the same one again changes nothing. replace: correct it."""
        key, body = keys.complaints(self._prefix, day.isoformat()), orjson.dumps([count, segment])
        there = await self._redis.hget(key, name)
        if there == body:
            return Kept.KNOWN
        if there is not None and not replace:
            return Kept.DIFFERS
        if there is None and await self._redis.hlen(key) >= MOST_REPORTS:
            return Kept.TOO_MANY
        if there is not None:
            await self._redis.hset(key, name, body)
            return Kept.REPLACED
        is_new = await self._redis.hsetnx(key, name, body)
        await self._redis.expire(key, KEPT_DAYS * 86_400)
        if is_new:
            return Kept.NEW
        return await self.add(name, day, count, segment, replace)  # somebody was faster with the same name

    async def days(self, days: Sequence[date]) -> dict[date, Reported]:
        """What was reported of each day; a day without a report is left out."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for day in days:
                pipe.hvals(keys.complaints(self._prefix, day.isoformat()))
            replies = await pipe.execute()
        return {day: _reported(bodies) for day, bodies in zip(days, replies, strict=True) if bodies}


def _reported(bodies: Sequence[bytes]) -> Reported:
    total, segments = 0, dict[str, int]()
    for body in bodies:
        count, segment = orjson.loads(body)
        total += count
        if segment is not None:
            segments[segment] = segments.get(segment, 0) + count
    return Reported(total, len(bodies), segments)
