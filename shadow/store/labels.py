"""Keeps the votes on labelled transactions, for all slots and runs, and the leases of reviewers.

Labels are joined to cases on reading, not on arrival. So a label may arrive before its case, long after it, or for a
transaction that is a case in no slot, and one copy serves all slots.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import orjson

from shadow.comparison.case import Case, card_hash
from shadow.labels.label import BUCKETS, RANK, Known, Vote, Votes, bucket_of, known
from shadow.store import keys
from shadow.store.pseudonyms import pseudonyms

#: Subjects that one command reads.
CHUNK = 2_000


class LabelStore:
    """The labels of all slots. redis: an asyncio client of redis-py, whose errors are passed on."""

    def __init__(self, redis: Any, prefix: str = "shadow", label_days: int = 180) -> None:
        self.redis, self.prefix = redis, prefix
        self._seconds = label_days * 86_400
        self._merge = redis.register_script((files("shadow.store") / "lua" / "label.lua").read_text())

    async def merge(self, votes: Sequence[Vote], reached: Mapping[int, int]) -> int:
        """Merge votes. Returns how many of them changed anything.

        reached: next offset by partition of the topic, stored as the fence of every bucket together with its votes. So
        whatever Redis loses is read again from the fence; merging a vote twice is harmless.
        """
        by_bucket: dict[int, list[Vote]] = defaultdict(list)
        names = await pseudonyms(self.redis, self.prefix)
        votes = [replace(vote, subject=names.subject(vote.subject)) for vote in votes]
        for vote in votes:
            by_bucket[vote.bucket].append(vote)
        months = {vote.month for vote in votes}
        if months:
            await self.redis.sadd(keys.label_months(self.prefix), *map(str, months))
        news = 0
        for bucket in range(BUCKETS) if reached else by_bucket:
            mine = by_bucket[bucket]
            places = {month: at for at, month in enumerate(sorted({vote.month for vote in mine}), start=2)}
            touched = [keys.label_fence(self.prefix, bucket)]
            touched += [keys.labels(self.prefix, bucket, month) for month in places]
            body = {
                "reached": {str(partition): to for partition, to in reached.items()},
                "seconds": self._seconds,
                "ranks": RANK,
                "votes": [
                    [places[v.month], v.subject, v.source, v.by, v.at_ms, v.verdict, RANK[v.verdict]] for v in mine
                ],
            }
            news += await self._merge(keys=touched, args=[orjson.dumps(body)])
        return news

    async def reached(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset of each partition of the topic before which the store has every label."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for bucket in range(BUCKETS):
                pipe.hgetall(keys.label_fence(self.prefix, bucket))
            fences = await pipe.execute()
        return {partition: min(int(fence.get(b"%d" % partition, 0)) for fence in fences) for partition in partitions}

    async def _months(self) -> list[int]:
        return sorted(map(int, await self.redis.smembers(keys.label_months(self.prefix))))

    async def of(self, subjects: Iterable[str]) -> dict[str, list[Votes]]:
        """The votes on subjects; subjects without votes are left out."""
        by_bucket: dict[int, list[str]] = defaultdict(list)
        for subject in set(subjects):
            by_bucket[bucket_of(subject)].append(subject)
        asked = [
            (keys.labels(self.prefix, bucket, month), mine[start : start + CHUNK])
            for bucket, mine in by_bucket.items()
            for month in await self._months()
            for start in range(0, len(mine), CHUNK)
        ]
        async with self.redis.pipeline(transaction=False) as pipe:
            for key, some in asked:
                pipe.hmget(key, some)
            replies = await pipe.execute()
        found: dict[str, list[Votes]] = defaultdict(list)
        for (_, some), bodies in zip(asked, replies, strict=True):
            for subject, body in zip(some, bodies, strict=True):
                if body is not None:
                    found[subject].append(_votes(body))
        return dict(found)

    async def known(self, cases: Sequence[Case]) -> list[Known]:
        """What each source says of the cases of one run. A subject that fits several cases is ignored."""
        times = Counter(subject for case in cases for subject in case.subjects)
        subjects = [[subject for subject in case.subjects if times[subject] == 1] for case in cases]
        found = await self.of(subject for several in subjects for subject in several)
        return [
            known(case, [votes for subject in several for votes in found.get(subject, [])])
            for case, several in zip(cases, subjects, strict=True)
        ]

    async def erase(self, card: str, subjects: Sequence[str]) -> int:
        """Delete the labels on these subjects, and those that name the card. Returns their number."""
        name, gone = (await pseudonyms(self.redis, self.prefix)).card(card_hash(card)), 0
        for month in await self._months():
            for bucket in range(BUCKETS):
                key = keys.labels(self.prefix, bucket, month)
                mine = [subject for subject in subjects if bucket_of(subject) == bucket]
                mine += [field.decode() async for field, _ in self.redis.hscan_iter(key, match=f"c:{name}:*")]
                gone += await self.redis.hdel(key, *mine) if mine else 0
        return gone

    async def lease(self, slot: str, transaction: str, by: str, minutes: float) -> bool:
        """Reserve a case for one person for some minutes. Returns False if somebody else has it."""
        key = keys.lease(self.prefix, slot, transaction)
        if await self.redis.set(key, by, nx=True, px=int(minutes * 60_000)):
            return True
        return bool(await self.redis.get(key) == by.encode())

    async def release(self, slot: str, transaction: str) -> None:
        """Release the lease of a case."""
        await self.redis.delete(keys.lease(self.prefix, slot, transaction))


def _votes(body: bytes) -> Votes:
    said = orjson.loads(body)
    return {source: {by: (int(at), verdict) for by, (at, verdict) in people.items()} for source, people in said.items()}
