"""Redis: applies what partitions add up to, exactly once, and reads it back summed over partitions.

A range [from, to) of a partition is applied by one script, only if the fence in Redis stands at `from`; the fence moves
to `to` in the same script. So a worker that died, was replaced, or repeats itself can never count a decision twice.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import orjson
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from scorer.errors import UserError
from shadow import keys
from shadow.advance import Advance, day_of
from shadow.cases import Case, card_hash
from shadow.clean import Reset
from shadow.keys import TOTAL, Keys
from shadow.payload import FIELDS, Payload, day_name
from shadow.samples import WHOLE_RUN, Stratum
from shadow.tally import (
    ALL,
    CANDIDATE_SCORES,
    CAPPED,
    COLUMNS,
    COUNTS,
    ERRORS,
    LATE,
    LIVE_SCORES,
    MINOR,
    SQUARES,
    Run,
    RunTotals,
    SegmentTotals,
)

COUNTERS = ("duplicates", "repeats", "conflicts")


@dataclass(frozen=True, slots=True)
class Fence:
    """Where a partition stands. next: first decision not applied yet. source: highest source offset applied, -1 for
    none. is_new: it was not there before."""

    nonce: str
    next: int
    source: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """taus: new thresholds of strata that refused a sample."""

    taus: dict[Stratum, float]


@dataclass(frozen=True, slots=True)
class Stale:
    """The fence stands at `next`: another worker was faster, or Redis lost its last writes."""

    next: int


@dataclass(frozen=True, slots=True)
class Wiped:
    """The partition's data is gone."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run of a slot, with its digests and thresholds as first seen. offsets: on `decisions`, from the run's first
    decision to after its last, by partition."""

    run: Run
    live_digest: str
    candidate_digest: str
    live_threshold: float | None
    candidate_threshold: float | None
    offsets: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a slot has read a partition."""

    partition: int
    next: int
    source: int
    skipped: int
    unreadable: int
    gap: int
    gaps: tuple[str, ...]


#: What a Redis that is away, refuses, or has lost a part of its cluster raises.
AWAY = (RedisError, RedisClusterException, OSError)
#: Addresses of a Redis Cluster begin with this; any of its nodes will do.
CLUSTER = "redis+cluster://"


def connect(address: str) -> Any:
    """A client; raises ValueError for an address that is none."""
    options: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "health_check_interval": 30}
    if address.startswith(CLUSTER):
        return RedisCluster.from_url(address.replace(CLUSTER, "redis://", 1), **options)
    return Redis.from_url(address, **options)


class TallyStore:
    """Tallies and samples of one slot. Redis's own errors are passed on; nothing is half applied.

    redis: an asyncio client of redis-py (whose types do not tell its two kinds apart, hence Any).
    """

    def __init__(
        self,
        redis: Any,
        slot: str,
        segments: tuple[str, ...],
        prefix: str = "shadow",
        sample_days: int = 30,
        label_days: int = 180,
    ) -> None:
        self.redis, self.slot, self.prefix = redis, slot, prefix
        self._segments = segments
        self._sample_seconds, self._case_seconds = sample_days * 86_400, label_days * 86_400
        folder = files("shadow") / "lua"
        self._advance = redis.register_script((folder / "advance.lua").read_text())
        self._gap = redis.register_script((folder / "gap.lua").read_text())
        self._explain = redis.register_script((folder / "explain.lua").read_text())

    def _keys(self, partition: int) -> Keys:
        return Keys(self.prefix, self.slot, partition)

    async def open_partition(self, partition: int, oldest: int) -> Fence:
        """The fence of a partition; a new one is set at `oldest`, the first decision that is still on the topic."""
        at = self._keys(partition)
        await self.redis.sadd(keys.slots(self.prefix), self.slot)
        await self.redis.sadd(keys.partitions(self.prefix, self.slot), str(partition))
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hsetnx(at.fence, "nonce", secrets.token_hex(8))
            pipe.hsetnx(at.fence, "next", oldest)
            pipe.hgetall(at.fence)
            is_new, _, found = await pipe.execute()
        fence = {name.decode(): value.decode() for name, value in found.items()}
        return Fence(fence["nonce"], int(fence["next"]), int(fence.get("source", -1)), bool(is_new))

    async def stands(self, partition: int, fence: Fence) -> bool:
        """Whether Redis still has the partition just as this fence says."""
        nonce, following = await self.redis.hmget(self._keys(partition).fence, "nonce", "next")
        return bool(nonce == fence.nonce.encode() and int(following or -1) == fence.next)

    async def advance(self, partition: int, fence: Fence, to: int, what: Advance) -> Applied | Stale | Wiped:
        """Apply the range [fence.next, to). Only `Applied` changed anything."""
        payload = Payload(self._keys(partition), self._segments, self._sample_seconds, self._case_seconds)
        body = payload.build(fence.nonce, fence.next, to, what)
        reply = await self._advance(keys=payload.names, args=[orjson.dumps(body)])
        outcome = _refusal(reply)
        if outcome is not None:
            return outcome
        taus = {}
        for at, stratum, tau in zip(reply[1::3], reply[2::3], reply[3::3], strict=True):
            run, day = payload.names[int(at) - 1].rsplit(":", 2)[1:]
            outcome_code, segment = stratum.decode().split(":", 1)
            when = WHOLE_RUN if day == "run" else int(day)
            taus[run, when, int(outcome_code), self._segments.index(segment)] = float(tau)
        return Applied(taus)

    async def record_gap(self, partition: int, fence: Fence, to: int) -> Applied | Stale | Wiped:
        """Say that retention took [fence.next, to), and go on behind it."""
        at = self._keys(partition)
        reply = await self._gap(keys=[at.fence, at.gaps], args=[fence.nonce, fence.next, to])
        return _refusal(reply) or Applied({})

    async def taus(self, partition: int) -> dict[Stratum, float]:
        """Thresholds of all strata of a partition that ever refused a sample."""
        at, found = self._keys(partition), {}
        for run in await self._members(at.runs):
            for day in (WHOLE_RUN, *await self._days(at, run)):
                for stratum, tau in (await self._hash(at.taus(run, day_name(day)))).items():
                    outcome, segment = stratum.split(":", 1)
                    if segment in self._segments:
                        found[run, day, int(outcome), self._segments.index(segment)] = float(tau)
        return found

    async def _days(self, at: Keys, run: str) -> list[int]:
        """Event days of a run in a partition, -1 for LATE."""
        return sorted({day_of(int(hour)) for hour in await self._members(at.hours(run))})

    async def _members(self, key: str) -> list[str]:
        return sorted(member.decode() for member in await self.redis.smembers(key))

    async def partitions(self) -> list[int]:
        """Partitions that the slot ever had."""
        return sorted(map(int, await self._members(keys.partitions(self.prefix, self.slot))))

    async def runs(self) -> list[RunInfo]:
        """All runs of the slot, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        offsets: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
        for partition in await self.partitions():
            at = self._keys(partition)
            for run in await self._members(at.runs):
                meta = await self._hash(at.run(run))
                found.setdefault(run, meta)
                offsets[run][partition] = (int(meta["first_offset"]), int(meta["next_offset"]))
        return sorted(
            (
                RunInfo(
                    Run.parse(run),
                    meta.get("live_digest", ""),
                    meta.get("candidate_digest", ""),
                    _number(meta.get("live_threshold")),
                    _number(meta.get("candidate_threshold")),
                    offsets[run],
                )
                for run, meta in found.items()
            ),
            key=lambda info: info.run,
        )

    async def _hash(self, key: str) -> dict[str, str]:
        found = await self.redis.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def totals(self, run: Run) -> RunTotals:
        """What a run adds up to, over all partitions; empty for a run that is not there."""
        name, partitions = str(run), await self.partitions()
        ats = [self._keys(partition) for partition in partitions]
        async with self.redis.pipeline(transaction=False) as pipe:
            for at in ats:
                pipe.hgetall(at.run(name))
                pipe.smembers(at.hours(name))
                pipe.smembers(at.resets(name))
                pipe.hget(at.fence, "gap")
                for segment in self._segments:
                    pipe.hgetall(at.tally(name, TOTAL, segment))
            replies = iter(await pipe.execute())
        counters: dict[str, int] = defaultdict(int)
        digests: dict[str, str] = {}
        hours: set[bytes] = set()
        resets: set[bytes] = set()
        gap = 0
        sums = {segment: np.zeros(COLUMNS + 2, dtype=np.int64) for segment in self._segments}
        for _ in ats:
            meta = {key.decode(): value.decode() for key, value in next(replies).items()}
            for counter in COUNTERS:
                counters[counter] += int(meta.get(counter, 0))
            digests |= {key: meta[key] for key in ("live_digest", "candidate_digest") if key in meta}
            hours |= next(replies)
            resets |= next(replies)
            gap += int(next(replies) or 0)
            for segment in self._segments:
                _add(sums[segment], next(replies))
        covered = tuple(sorted(map(int, hours - {b"%d" % LATE})))
        return RunTotals(
            run=run,
            segments={segment: _totals(counts) for segment, counts in sums.items()},
            hours=len(covered),
            covered=covered,
            resets=tuple(sorted(map(_reset, resets))),
            errors=int(sums[ALL][ERRORS]),
            duplicates=counters["duplicates"],
            repeats=counters["repeats"],
            conflicts=counters["conflicts"],
            gap=gap,
            live_digest=digests.get("live_digest", ""),
            candidate_digest=digests.get("candidate_digest", ""),
        )

    async def hourly(self, run: Run, segment: str) -> dict[int, SegmentTotals]:
        """A segment of a run by event hour, LATE among them, over all partitions."""
        name = str(run)
        sums: dict[int, Any] = defaultdict(lambda: np.zeros(COLUMNS + 2, dtype=np.int64))
        for partition in await self.partitions():
            at = self._keys(partition)
            hours = [int(hour) for hour in await self._members(at.hours(name))]
            async with self.redis.pipeline(transaction=False) as pipe:
                for hour in hours:
                    pipe.hgetall(at.tally(name, hour, segment))
                for hour, found in zip(hours, await pipe.execute(), strict=True):
                    _add(sums[hour], found)
        return {hour: _totals(counts) for hour, counts in sorted(sums.items())}

    async def progress(self) -> list[Progress]:
        """How far each partition is read."""
        out = []
        for partition in await self.partitions():
            at = self._keys(partition)
            fence = await self._hash(at.fence)
            gaps = tuple(gap.decode() for gap in await self.redis.lrange(at.gaps, 0, -1))
            numbers = {name: int(fence.get(name, 0)) for name in ("next", "skipped", "unreadable", "gap")}
            out.append(Progress(partition=partition, source=int(fence.get("source", -1)), gaps=gaps, **numbers))
        return out

    async def samples(self, run: Run) -> list[dict[str, Any]]:
        """Every kept sample of a run, with its `inclusion_probability`."""
        name, out = str(run), []
        for partition in await self.partitions():
            at = self._keys(partition)
            for day in await self._days(at, name):
                taus = {field: float(tau) for field, tau in (await self._hash(at.taus(name, day))).items()}
                for body in (await self._hash(at.bodies(name, day))).values():
                    sample = orjson.loads(body)
                    strata = [f"{sample['outcome_code']}:{segment}" for segment in sample["segments"]]
                    sample["inclusion_probability"] = max(taus.get(stratum, 1.0) for stratum in strata)
                    out.append(sample)
        return out

    async def cases(self, run: Run) -> list[Case]:
        """The label sample of a run: disagreements that a label may decide, by hash."""
        name, out = str(run), []
        for partition in await self.partitions():
            at = self._keys(partition)
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(at.taus(name, day_name(WHOLE_RUN)))
                pipe.hvals(at.bodies(name, day_name(WHOLE_RUN)))
                taus, bodies = await pipe.execute()
            refused = {field.decode(): float(tau) for field, tau in taus.items()}
            for body in bodies:
                case = Case.decode(body, partition, 1.0)
                strata = [f"{case.outcome}:{segment}" for segment in case.segments]
                out.append(replace(case, inclusion=max(refused.get(stratum, 1.0) for stratum in strata)))
        return sorted(out, key=lambda case: (case.hash, case.transaction))

    async def sample_of(self, run: Run, case: Case) -> dict[str, Any] | None:
        """The kept sample that a case is of; None once it has expired."""
        body = await self.redis.hget(self._keys(case.partition).bodies(str(run), case.day), str(case.offset))
        return None if body is None else dict(orjson.loads(body))

    async def erase_card(self, card: str) -> list[Case]:
        """Forget the samples and cases of a card; returns the cases, for what is known of them elsewhere.

        Places in the strata are kept, so that inclusion probabilities and what is sampled next stay as they are.
        """
        hashed, gone = card_hash(card), []
        for partition in await self.partitions():
            at = self._keys(partition)
            for run in await self._members(at.runs):
                for day in (*map(str, await self._days(at, run)), day_name(WHOLE_RUN)):
                    key = at.bodies(run, day)
                    async for member, body in self.redis.hscan_iter(key, count=500):
                        if day == day_name(WHOLE_RUN):
                            case = Case.decode(body, partition, 1.0)
                            if case.card != hashed:
                                continue
                            gone.append(case)
                        elif orjson.loads(body)["card_id"] != card:
                            continue
                        await self.redis.hdel(key, member)
        return gone

    async def unexplained(self, partition: int, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Some kept samples that do not say yet why the models differ, with the names to explain them under."""
        at = self._keys(partition)
        out: list[tuple[str, dict[str, Any]]] = []
        for name in await self.redis.srandmember(at.why, limit):
            run, day, member = _why(name.decode())
            body = await self.redis.hget(at.bodies(run, day), member)
            if body is None:
                await self.redis.srem(at.why, name)
            else:
                out.append((name.decode(), orjson.loads(body)))
        return out

    async def explain(self, partition: int, name: str, sample: Mapping[str, Any]) -> bool:
        """Put back a sample that now says why; False if it is no longer kept."""
        at = self._keys(partition)
        run, day, member = _why(name)
        body = orjson.dumps(sample)
        return bool(await self._explain(keys=[at.bodies(run, day), at.why], args=[member, name, body]))

    async def ping(self) -> None:
        """Raises what Redis raises when it is away."""
        await self.redis.ping()


def _why(name: str) -> tuple[str, int, str]:
    run, day, member = name.split("/")
    return run, int(day), member


def _number(text: str | None) -> float | None:
    return None if text in (None, "") else float(text)


def _reset(text: bytes) -> Reset:
    hour, cause = text.decode().split(":", 1)
    return Reset(int(hour), cause)


def _refusal(reply: list[Any]) -> Stale | Wiped | None:
    said: Literal[b"applied", b"stale", b"wiped"] = reply[0]
    if said == b"stale":
        return Stale(int(reply[1] or 0))
    return Wiped() if said == b"wiped" else None


def _add(sums: Any, found: Mapping[bytes, bytes]) -> None:
    for name, value in found.items():
        sums[_COLUMN_OF[name]] += int(value)


_COLUMN_OF = {name.encode(): at for at, name in enumerate((*FIELDS, "p0", "p1"))}


def _totals(sums: Any) -> SegmentTotals:
    return SegmentTotals(
        counts=sums[COUNTS],
        minor=sums[MINOR],
        capped=sums[CAPPED],
        squares=sums[SQUARES],
        pairs=sums[COLUMNS:],
        live_scores=sums[LIVE_SCORES],
        candidate_scores=sums[CANDIDATE_SCORES],
        errors=int(sums[ERRORS]),
    )


@contextmanager
def telling(address: str) -> Iterator[None]:
    """Turns a Redis that is away into a UserError, for commands."""
    try:
        yield
    except AWAY as error:
        raise UserError(f"redis {address.rpartition('@')[2]}: {error}; start it or set SHADOW_REDIS") from None
