"""Keeps the votes and notes on labelled transactions, for all slots and runs, and the leases of reviewers.

Labels are joined to cases on reading, not on arrival. So a label may arrive before its case, long after it, or for a
transaction that is a case in no slot, and one copy serves all slots.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import orjson

from shadow.comparison.case import Case, card_hash
from shadow.labels.label import BUCKETS, OPEN, RANK, Known, Note, Vote, Votes, bucket_of, known
from shadow.store import keys
from shadow.store.pseudonyms import pseudonyms

#: Subjects that one command reads.
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who is to review a transaction, and who says so. at_ms: milliseconds since 1970."""

    to: str
    by: str
    at_ms: int


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
            noted = [vote for vote in mine if vote.note or vote.verdict == OPEN]
            touched = [keys.label_fence(self.prefix, bucket)]
            touched += [keys.labels(self.prefix, bucket, month) for month in sorted({vote.month for vote in mine})]
            touched += [keys.notes(self.prefix, bucket, month) for month in sorted({vote.month for vote in noted})]
            at = {key: place for place, key in enumerate(touched, start=1)}
            body = {
                "reached": {str(partition): to for partition, to in reached.items()},
                "seconds": self._seconds,
                "ranks": RANK,
                "votes": [
                    [
                        at[keys.labels(self.prefix, bucket, v.month)],
                        v.subject,
                        v.source,
                        v.by,
                        v.at_ms,
                        v.verdict,
                        RANK[v.verdict],
                    ]
                    for v in mine
                ],
                "notes": [
                    [at[keys.notes(self.prefix, bucket, v.month)], v.subject, v.source, v.by, v.at_ms, v.note]
                    for v in noted
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
        found: dict[str, list[Votes]] = defaultdict(list)
        for subject, body in await self._bodies(subjects, keys.labels):
            found[subject].append(_votes(body))
        return dict(found)

    async def notes(self, subjects: Iterable[str]) -> dict[str, list[Note]]:
        """The notes on subjects, newest first; of each person and source one. Subjects without notes are left out."""
        found: dict[str, dict[tuple[str, str], tuple[int, str]]] = defaultdict(dict)
        for subject, body in await self._bodies(subjects, keys.notes):
            for source, people in orjson.loads(body).items():
                for by, (at, text) in people.items():
                    mine = found[subject]
                    mine[source, by] = max(mine.get((source, by), (0, "")), (int(at), text))
        notes = {
            subject: [Note(source, by, at, text) for (source, by), (at, text) in several.items() if text]
            for subject, several in found.items()
        }
        return {
            subject: sorted(several, key=lambda note: (-note.at_ms, note.by))
            for subject, several in notes.items()
            if several
        }

    async def _bodies(self, subjects: Iterable[str], key_of: Callable[[str, int, int], str]) -> list[tuple[str, bytes]]:
        """What is stored of subjects, month by month, each with its subject."""
        by_bucket: dict[int, list[str]] = defaultdict(list)
        for subject in set(subjects):
            by_bucket[bucket_of(subject)].append(subject)
        asked = [
            (key_of(self.prefix, bucket, month), mine[start : start + CHUNK])
            for bucket, mine in by_bucket.items()
            for month in await self._months()
            for start in range(0, len(mine), CHUNK)
        ]
        async with self.redis.pipeline(transaction=False) as pipe:
            for key, some in asked:
                pipe.hmget(key, some)
            replies = await pipe.execute()
        return [
            (subject, body)
            for (_, some), bodies in zip(asked, replies, strict=True)
            for subject, body in zip(some, bodies, strict=True)
            if body is not None
        ]

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
                if mine:
                    await self.redis.hdel(keys.notes(self.prefix, bucket, month), *mine)
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

    async def holders(self, slot: str, transactions: Sequence[str]) -> list[str | None]:
        """Who is reviewing each of some cases right now; None for nobody."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for transaction in transactions:
                pipe.get(keys.lease(self.prefix, slot, transaction))
            found = await pipe.execute()
        return [None if one is None else one.decode() for one in found]

    async def assign(self, slot: str, transaction: str, to: str, by: str, at_ms: int) -> None:
        """Assign a transaction to somebody, instead of whoever had it."""
        key = keys.assigned(self.prefix, slot)
        await self.redis.hset(key, transaction, orjson.dumps({"to": to, "by": by, "at": at_ms}))
        await self.redis.expire(key, self._seconds)

    async def unassign(self, slot: str, transactions: Sequence[str]) -> None:
        """Forget to whom some transactions are assigned."""
        if transactions:
            await self.redis.hdel(keys.assigned(self.prefix, slot), *transactions)

    async def assignments(self, slot: str) -> dict[str, Assignment]:
        """What is assigned in a slot, by transaction."""
        found = await self.redis.hgetall(keys.assigned(self.prefix, slot))
        told = {name.decode(): orjson.loads(body) for name, body in found.items()}
        return {name: Assignment(one["to"], one["by"], int(one["at"])) for name, one in told.items()}


def _votes(body: bytes) -> Votes:
    said = orjson.loads(body)
    return {source: {by: (int(at), verdict) for by, (at, verdict) in people.items()} for source, people in said.items()}
