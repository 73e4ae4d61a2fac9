"""Writes settled fetches in order: the decisions of each, together with the card states of the one before.

A card state must not be on its topic before the decisions of its batch, so it is written after these are acknowledged.
In a request of its own it would hold up the next decisions, because only one request at a time is in flight to a
broker. So card states go with the next decisions, or alone if none are settled within `LINGER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from scorer import metrics
from scorer.kafka.producer import BatchProducer, Write
from scorer.pipeline.batch import Marked, Published, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.exploration import Budget
from scorer.settings import Topics
from scorer.streaming.fetch import Batch

#: How long card states wait for decisions to go with. A busy worker has some more often.
LINGER_SECONDS = 0.05
PUBLISH, STATE = (metrics.STAGE.labels(stage) for stage in ("publish", "state"))


@dataclass
class Partition:
    """What a worker keeps in memory of a partition that it owns.

    next: offset after the last finished record. is_spoiled: a batch was settled and given up, so the card states are
    ahead of the topics and must be read again. erasures: ids of the requests to erase cards that were carried out.
    budget: what was released.
    """

    states: CardStates
    published: Published
    next: int
    is_spoiled: bool = False
    erasures: set[str] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, eq=False)
class Removal:
    """States of a card that were erased from memory, and what says so on the changelog. done: whether it is written."""

    partition: int
    part: Partition
    request: str
    marks: Sequence[Marked]
    done: asyncio.Future[bool]


@dataclass(frozen=True, eq=False)
class Work:
    """A settled fetch, or the removal of a card state, which decides nothing.

    bundle: first 12 digits of the digest that decided it.
    """

    taken: Sequence[tuple[Batch, Partition, Settled]]
    bundle: str
    removal: Removal | None = None

    @property
    def parts(self) -> list[tuple[int, Partition]]:
        """Number and memory of each partition that it is about."""
        removal = [] if self.removal is None else [(self.removal.partition, self.removal.part)]
        return [(batch.partition, part) for batch, part, _ in self.taken] + removal


class Owner(Protocol):
    """The worker whose work a `Writer` writes, and which learns how that went."""

    async def may_publish(self, work: Work) -> bool:
        """Called right before work is published. Return False to abandon it."""

    def published(self, work: Work) -> None:
        """Decisions and dead letters of this work are acknowledged."""

    def finished(self, work: Work) -> None:
        """The card states of this work are acknowledged, too."""

    async def gave_up(self, work: Work, error: Exception | None) -> None:
        """Nothing, or only a part, of this work is written. error: why; None if `may_publish` returned False."""


class Writer:
    """Writes work in the order in which it is put, each after the decisions of the one before are acknowledged.

    linger_seconds: how long card states wait for decisions to go with. writing_since: monotonic time at which the write
    under way began, None if none is.
    """

    def __init__(
        self, producer: BatchProducer, topics: Topics, owner: Owner, linger_seconds: float = LINGER_SECONDS
    ) -> None:
        self._producer, self._topics, self._owner, self._linger_seconds = producer, topics, owner, linger_seconds
        self._waiting: asyncio.Queue[Work] = asyncio.Queue()
        self.writing_since: float | None = None

    def put(self, work: Work) -> None:
        """Queue work. Returns at once."""
        self._waiting.put_nowait(work)

    async def run(self) -> None:
        """Write queued work until cancelled. What fails goes to the owner's `gave_up`, and the next work follows."""
        before: tuple[Work, float] | None = None
        while True:
            work = await self._next(None if before is None else self._linger_seconds)
            if work is not None and not await self._owner.may_publish(work):
                await self._owner.gave_up(work, None)
                work = None
            if work is None and before is None:
                continue
            try:
                if work is not None and work.removal is not None:
                    if before is not None:  # a state of the card may be among these
                        before = await self._write(None, before)
                    await self._remove(work, work.removal)
                else:
                    before = await self._write(work, before)
            except Exception as error:
                for given_up in (before and before[0], work):
                    if given_up is not None:
                        await self._owner.gave_up(given_up, error)
                before = None

    async def _next(self, seconds: float | None) -> Work | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._waiting.get()
        except TimeoutError:
            return None

    async def _remove(self, work: Work, removal: Removal) -> None:
        records, headers = [mark.record for mark in removal.marks], [mark.headers for mark in removal.marks]
        await self._producer.write_all([Write(self._topics.velocity, removal.partition, records, headers)])
        self._owner.finished(work)

    async def _write(self, work: Work | None, before: tuple[Work, float] | None) -> tuple[Work, float] | None:
        """Publish work together with the card states of the work before; returns work and when it was acknowledged."""
        started, topics = time.perf_counter(), self._topics
        writes = []
        if work is not None:
            writes += [Write(topics.decisions, b.partition, s.decisions, s.carried) for b, _, s in work.taken]
            writes += [Write(topics.rejected, b.partition, s.rejected, s.headers) for b, _, s in work.taken]
        if before is not None:
            writes += [_states(topics.velocity, b.partition, s) for b, _, s in before[0].taken]
        self.writing_since = time.monotonic()
        try:
            await self._producer.write_all(writes)
        finally:
            self.writing_since = None
        done = time.perf_counter()
        if before is not None:
            STATE.observe(done - before[1])
            self._owner.finished(before[0])
        if work is None:
            return None
        PUBLISH.observe(done - started)
        self._owner.published(work)
        return work, done


def _states(topic: str, partition: int, settled: Settled) -> Write:
    """The changelog of a batch, in its order."""
    if not (settled.clock or settled.dropped):
        return Write(topic, partition, settled.states)
    unmarked = [Marked(record, []) for record in settled.states]
    marked = [*settled.clock, *unmarked, *settled.dropped]
    return Write(topic, partition, [one.record for one in marked], [one.headers for one in marked])
