"""Applies ranges of decisions to Redis, each exactly once. `shadow.store.reader` reads the sums back.

One script applies a range [from, to) of a partition, but only if the fence in Redis is at `from`, and moves the fence
to `to`. So a worker that died, was replaced or repeats itself never counts a decision twice.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from typing import Any

import orjson

from shadow.comparison.card_days import CardDay, card_days, count
from shadow.comparison.case import Case, card_hash
from shadow.comparison.increment import Increment
from shadow.comparison.sample import Sample
from shadow.comparison.sampling import WHOLE_RUN, Stratum
from shadow.comparison.totals import Run
from shadow.store import keys
from shadow.store.former import forget
from shadow.store.keys import Keys
from shadow.store.payload import Payload, day_name, member
from shadow.store.pseudonyms import Pseudonyms, pseudonyms
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleEraser


@dataclass(frozen=True, slots=True)
class Fence:
    """The position of a partition.

    nonce: changes when Redis loses the partition. next: offset of the first decision that is not applied. source:
    highest source offset applied, -1 for none. is_new: whether the fence was created just now. decided: which source
    offsets are decided, as `Sources.text`; empty in what older versions wrote.
    """

    nonce: str
    next: int
    source: int
    is_new: bool
    decided: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """The range was applied. taus: new thresholds of the strata that refused a sample."""

    taus: dict[Stratum, float]


@dataclass(frozen=True, slots=True)
class Stale:
    """The fence is at `next` instead: another worker was faster, or Redis lost its last writes."""

    next: int


@dataclass(frozen=True, slots=True)
class Wiped:
    """Redis has lost the partition's data, or it was opened anew."""


class TallyStore(TallyReader):
    """Reads and changes tallies and samples of one slot; no change is ever half applied. See `TallyReader`."""

    def __init__(
        self,
        redis: Any,
        slot: str,
        segments: tuple[str, ...],
        prefix: str = "shadow",
        sample_days: int = 30,
        label_days: int = 180,
    ) -> None:
        super().__init__(redis, slot, segments, prefix)
        self._sample_seconds, self._case_seconds = sample_days * 86_400, label_days * 86_400
        self._pseudonyms: Pseudonyms | None = None
        folder = files("shadow.store") / "lua"
        self._apply = redis.register_script((folder / "apply.lua").read_text())
        self._gap = redis.register_script((folder / "gap.lua").read_text())
        self._explain = redis.register_script((folder / "explain.lua").read_text())

    async def is_known(self, partition: int) -> bool:
        """Whether a partition has a fence."""
        return bool(await self.redis.hexists(self._keys(partition).fence, "nonce"))

    async def open_partition(self, partition: int, begin: int) -> Fence:
        """Read the fence of a partition. A new one stands at `begin`, the offset of the first decision to take."""
        at = self._keys(partition)
        self._pseudonyms = await pseudonyms(self.redis, self.prefix)  # again: Redis may have lost the salt
        await self.redis.sadd(keys.slots(self.prefix), self.slot)
        await self.redis.sadd(keys.partitions(self.prefix, self.slot), str(partition))
        first = {} if await self.is_known(partition) else {"first": begin}  # older fences have none, and get none
        async with self.redis.pipeline(transaction=True) as pipe:
            for name, value in {"nonce": secrets.token_hex(8), "next": begin, **first}.items():
                pipe.hsetnx(at.fence, name, value)
            pipe.hgetall(at.fence)
            is_new, *_, found = await pipe.execute()
        fence = {name.decode(): value.decode() for name, value in found.items()}
        source, decided = int(fence.get("source", -1)), fence.get("decided", "")
        return Fence(fence["nonce"], int(fence["next"]), source, bool(is_new), decided)

    async def forget_former(self, partition: int) -> int | None:
        """Delete what a former version has of a partition: see `shadow.store.former.forget`."""
        return await forget(self.redis, self.prefix, self.slot, partition, self._segments)

    async def stands(self, partition: int, fence: Fence) -> bool:
        """Whether the partition in Redis is still at this fence."""
        nonce, following = await self.redis.hmget(self._keys(partition).fence, "nonce", "next")
        return bool(nonce == fence.nonce.encode() and int(following or -1) == fence.next)

    async def apply(self, partition: int, fence: Fence, to: int, increment: Increment) -> Applied | Stale | Wiped:
        """Apply the sums of the range [fence.next, to). Nothing is changed unless it returns `Applied`."""
        if self._pseudonyms is None:
            self._pseudonyms = await pseudonyms(self.redis, self.prefix)
        at = self._keys(partition)
        known = await self._card_states(at, fence.nonce, card_days(increment.blocked))
        days, states = count(increment.blocked, known, len(self._segments))
        payload = Payload(at, self._segments, self._sample_seconds, self._case_seconds, self._pseudonyms)
        body = payload.build(fence.nonce, fence.next, to, increment, days)
        of_cards = payload.states(fence.nonce, states)
        reply = await self._apply(keys=payload.names, args=[orjson.dumps(body), payload.entries, *of_cards])
        outcome = refusal_of(reply)
        if outcome is not None:
            return outcome
        taus = {}
        for at, stratum, tau in zip(reply[1::3], reply[2::3], reply[3::3], strict=True):
            run, day = payload.names[int(at) - 1].rsplit(":", 2)[1:]
            outcome_code, segment = stratum.decode().split(":", 1)
            when = WHOLE_RUN if day == "run" else int(day)
            taus[run, when, int(outcome_code), self._segments.index(segment)] = float(tau)
        return Applied(taus)

    async def _card_states(self, at: Keys, nonce: str, days: Sequence[CardDay]) -> dict[CardDay, bytes]:
        """What cards have counted for so far.

        They change only together with the fence. So if the fence still stands when the sums that are made of them are
        applied, they have not changed since; if it does not, nothing is applied.
        """
        by_day: dict[tuple[Run, int], list[CardDay]] = defaultdict(list)
        for day in days:
            by_day[day[:2]].append(day)
        async with self.redis.pipeline(transaction=False) as pipe:
            for (run, at_day), mine in by_day.items():
                pipe.hmget(at.cards(str(run), at_day, self._segments), [member(nonce, day) for day in mine])
            replies = await pipe.execute()
        found = zip((day for mine in by_day.values() for day in mine), chain.from_iterable(replies), strict=True)
        return {day: state for day, state in found if state is not None}

    async def record_gap(self, partition: int, fence: Fence, to: int) -> Applied | Stale | Wiped:
        """Record that retention deleted [fence.next, to), and move the fence to `to`."""
        at = self._keys(partition)
        reply = await self._gap(keys=[at.fence, at.gaps], args=[fence.nonce, fence.next, to])
        return refusal_of(reply) or Applied({})

    async def taus(self, partition: int) -> dict[Stratum, float]:
        """The thresholds of all strata of a partition that have refused a sample."""
        at, found = self._keys(partition), {}
        for run in await self._members(at.runs):
            for day in (WHOLE_RUN, *await self._days(at, run)):
                for stratum, tau in (await self._hash(at.taus(run, day_name(day)))).items():
                    outcome, segment = stratum.split(":", 1)
                    if segment in self._segments:
                        found[run, day, int(outcome), self._segments.index(segment)] = float(tau)
        return found

    async def newest_epoch(self, partition: int) -> int:
        """Epoch of the newest candidate that has a run in a partition, -1 if none has."""
        runs = await self._members(self._keys(partition).runs)
        return max((Run.parse(run).candidate_epoch for run in runs), default=-1)

    async def erase_card(self, card: str) -> tuple[int, list[Case]]:
        """Delete the samples and cases of a card. Returns the number of samples, and the cases, so that their labels
        can be deleted too.

        Their places in the strata remain, so inclusion probabilities and further sampling stay the same. So do the
        counts of its discordant pairs; should it have another one on a day that has one, both count.
        """
        name, gone = (await pseudonyms(self.redis, self.prefix)).card(card_hash(card)), []
        for partition in await self.partitions():
            at = self._keys(partition)
            for run in await self._members(at.runs):
                key = at.bodies(run, day_name(WHOLE_RUN))
                async for field, body in self.redis.hscan_iter(key, count=500):
                    case = Case.decode(body, partition, 1.0)
                    if case.card == name:
                        gone.append(case)
                        await self.redis.hdel(key, field)
        return await SampleEraser(self.redis, self.slot, self.prefix).erase(card), gone

    async def unexplained(self, partition: int, limit: int) -> list[tuple[str, Sample]]:
        """Up to `limit` samples without an explanation, each with the name that `explain` takes."""
        at = self._keys(partition)
        out: list[tuple[str, Sample]] = []
        for name in await self.redis.srandmember(at.why, limit):
            run, day, member = _why(name.decode())
            body = await self.redis.hget(at.bodies(run, day), member)
            if body is None:
                await self.redis.srem(at.why, name)
            else:
                out.append((name.decode(), Sample.decode(body)))
        return out

    async def explain(self, partition: int, name: str, sample: Sample) -> bool:
        """Store a sample with its explanation. Returns False if the sample is no longer kept."""
        at = self._keys(partition)
        run, day, member = _why(name)
        return bool(await self._explain(keys=[at.bodies(run, day), at.why], args=[member, name, sample.encode()]))


def _why(name: str) -> tuple[str, int, str]:
    run, day, member = name.split("/")
    return run, int(day), member


def refusal_of(reply: Sequence[Any]) -> Stale | Wiped | None:
    """What refused a script's range; None if it was applied.

    Raises RuntimeError for an unknown reply: script and program are then of different versions, and nothing may count
    as applied.
    """
    match reply[0]:
        case b"applied":
            return None
        case b"stale":
            return Stale(int(reply[1] or 0))
        case b"wiped":
            return Wiped()
        case said:
            raise RuntimeError(f"a script in Redis replied {said!r}; expected applied, stale or wiped")
