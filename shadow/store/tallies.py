"""Redis: applies what partitions add up to, exactly once; what it adds up to is read back by `shadow.readback`.

A range [from, to) of a partition is applied by one script, only if the fence in Redis stands at `from`; the fence moves
to `to` in the same script. So a worker that died, was replaced, or repeats itself can never count a decision twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import orjson

from shadow import keys
from shadow.advance import Advance
from shadow.cases import Case, card_hash
from shadow.payload import Payload, day_name
from shadow.readback import TallyReader
from shadow.samples import WHOLE_RUN, Stratum


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


class TallyStore(TallyReader):
    """Tallies and samples of one slot, for whoever changes them; nothing is half applied. See `TallyReader`."""

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
        folder = files("shadow") / "lua"
        self._advance = redis.register_script((folder / "advance.lua").read_text())
        self._gap = redis.register_script((folder / "gap.lua").read_text())
        self._explain = redis.register_script((folder / "explain.lua").read_text())

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


def _why(name: str) -> tuple[str, int, str]:
    run, day, member = name.split("/")
    return run, int(day), member


def _refusal(reply: list[Any]) -> Stale | Wiped | None:
    said: Literal[b"applied", b"stale", b"wiped"] = reply[0]
    if said == b"stale":
        return Stale(int(reply[1] or 0))
    return Wiped() if said == b"wiped" else None
