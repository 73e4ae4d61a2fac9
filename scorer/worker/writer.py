"""Writes what was settled, fetch by fetch: decisions, in one request with the card states of the fetch before.

A card state may be there only when the decisions of its batch are: it is written after their acknowledgement. In a
request of its own it costs a batch a third of a millisecond, and as one request is on its way to a broker at a time,
the next decisions wait for its answer. So it goes with them; alone, if none are settled within `LINGER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from scorer import metrics
from scorer.fetch import Batch
from scorer.pipeline import Published, Settled
from scorer.producer import BatchProducer, Write
from scorer.settings import Topics
from scorer.velocity import CardStates

#: How long card states wait for decisions to go with; a busy worker has some every 10 ms or so.
LINGER_SECONDS = 0.05
PUBLISH, STATE = (metrics.STAGE.labels(stage) for stage in ("publish", "state"))


@dataclass
class Partition:
    """What a worker keeps of a partition it owns."""

    states: CardStates
    published: Published
    next: int
    is_spoiled: bool = False  # memory is ahead of the topics: a batch was settled and given up


@dataclass(frozen=True, eq=False)
class Work:
    """What a fetch brought, settled by a bundle."""

    taken: Sequence[tuple[Batch, Partition, Settled]]
    bundle: str


class Owner(Protocol):
    """Whose work is written."""

    async def may_publish(self, work: Work) -> bool:
        """Asked right before; if not, it is given up."""

    def published(self, work: Work) -> None:
        """Decisions and dead letters are acknowledged."""

    def finished(self, work: Work) -> None:
        """And so are the card states."""

    async def gave_up(self, work: Work, error: Exception | None) -> None:
        """It is not written, or not wholly. error: why, None where the owner said so."""


class Writer:
    """Writes work in the order it is put, each when the decisions of what was put before are acknowledged."""

    def __init__(
        self, producer: BatchProducer, topics: Topics, owner: Owner, linger_seconds: float = LINGER_SECONDS
    ) -> None:
        self._producer, self._topics, self._owner, self._linger_seconds = producer, topics, owner, linger_seconds
        self._waiting: asyncio.Queue[Work] = asyncio.Queue()

    def put(self, work: Work) -> None:
        """To be written when its turn comes."""
        self._waiting.put_nowait(work)

    async def run(self) -> None:
        """Write what is put, for ever."""
        before: tuple[Work, float] | None = None
        while True:
            work = await self._next(None if before is None else self._linger_seconds)
            if work is not None and not await self._owner.may_publish(work):
                await self._owner.gave_up(work, None)
                work = None
            if work is None and before is None:
                continue
            try:
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

    async def _write(self, work: Work | None, before: tuple[Work, float] | None) -> tuple[Work, float] | None:
        """Publish work, and remember what was published before; returns work and when it was acknowledged."""
        started, topics = time.perf_counter(), self._topics
        writes = []
        if work is not None:
            writes += [Write(topics.decisions, b.partition, s.decisions) for b, _, s in work.taken]
            writes += [Write(topics.rejected, b.partition, s.rejected, s.headers) for b, _, s in work.taken]
        if before is not None:
            writes += [Write(topics.velocity, b.partition, s.states) for b, _, s in before[0].taken]
        await self._producer.write_all(writes)
        done = time.perf_counter()
        if before is not None:
            STATE.observe(done - before[1])
            self._owner.finished(before[0])
        if work is None:
            return None
        PUBLISH.observe(done - started)
        self._owner.published(work)
        return work, done
