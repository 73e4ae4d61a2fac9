"""The partitions of a slot's shadow: where each stands in Redis, and what is not written there yet.

The fence of a partition in Redis is the offset up to which its decisions are counted; a new one stands where the
decisions are that its slot may count. A partition starts at its fence, gathers increments, and flushes them as one
range. Redis refuses a range that does not begin at the fence: another worker wrote, or Redis lost its last writes or
all of its data. Then the partition starts again at the fence that Redis has now, and its decisions are read again from
there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scorer.streaming.fetch import Batch
from shadow import metrics
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.comparison.sampling import Thresholds
from shadow.comparison.sources import Sources
from shadow.store.connection import AWAY
from shadow.store.tallies import Applied, Fence, Stale, TallyStore, Wiped
from shadow.worker.counting import Counting
from shadow.worker.reading import Reading

log = logging.getLogger(__name__)

#: Decisions before the fence that are read again. They are not counted: their scores are compared with those of later
#: decisions on the same transactions.
LOOK_BACK = 4000
#: Longest time that a call to Redis may take: its client repeats one that is not answered.
ANSWER_SECONDS = 90.0
#: Pause before a failed call to Redis is repeated.
RETRY_SECONDS = 0.5


@dataclass
class Partition:
    """What a slot knows of a partition that its worker owns.

    position: offset of the next decision to take. taus: which samples are not to be offered.
    begun: the epoch of the candidate whose run has begun, -1 if there is none yet. pending: sums that are not in Redis
    yet. reached: the offset up to which decisions are in `pending`. waiting: the batches in `pending`, which are not
    acknowledged yet. since: monotonic time at which the oldest of them came, 0 if there are none. is_left: whether
    other slots of the worker go on without this one, whose bundle cannot be had.
    """

    fence: Fence
    position: int
    memory: Memory
    taus: Thresholds
    reached: int
    begun: int = -1
    pending: Increment = field(default_factory=Increment)
    waiting: list[Batch] = field(default_factory=list)
    since: float = 0.0
    is_left: bool = False
    flushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def begins(self, batch: Batch, start: int, epoch: int, since_ms: int) -> int:
        """Offset of a batch's first decision that counts for a candidate: none that was published before its slot was
        filled does, as it may have been trained on that. `batch.next` if all of them were.

        From the first one that came later, all do, whatever the clocks of their senders say: a run has no holes.
        start: offset from which the slot takes the batch. since_ms: when it was filled, milliseconds since 1970.
        """
        if self.begun == epoch:
            return start
        for record in batch.records:
            if record.offset >= start and record.timestamp >= since_ms:
                self.begun = epoch
                return int(record.offset)
        return batch.next

    def gather(self, batch: Batch, increment: Increment) -> None:
        """Add a batch's increment to what is pending."""
        add(self.pending, increment)
        self.taus.note(increment.samples)
        self.reached = max(self.reached, batch.next)
        self.since = self.since or time.monotonic()
        self.waiting.append(batch)

    @property
    def records(self) -> int:
        """Decisions that are gathered but not in Redis yet."""
        return sum(map(len, self.waiting))


class Partitions:
    """The partitions that a slot's worker owns.

    since_ms: tells before when nothing counts, milliseconds since 1970.

    is_draining: the worker is stopping, so a flush no longer waits for an unavailable Redis. opened, redis_errors: how
    often a partition was opened, and Redis did not do what it was asked for.
    """

    def __init__(
        self, reading: Reading, slot: str, store: TallyStore, counting: Counting, since_ms: Callable[[], int]
    ) -> None:
        self._reading, self._slot, self._store, self._counting = reading, slot, store, counting
        self._since_ms = since_ms
        self.owned: dict[int, Partition] = {}
        self.is_draining = False
        self.opened = self.redis_errors = 0
        self._asked: dict[object, float] = {}

    def patient_until(self, flush_seconds: float) -> float:
        """Monotonic time until which an answer of Redis may come, or gathered sums may wait; 0 if neither is awaited.
        For any thread. flush_seconds: how long sums wait, looked at five times in it."""
        answers = (asked + ANSWER_SECONDS for asked in self._asked.copy().values())
        flushes = (part.since + 1.5 * flush_seconds for part in self.owned.copy().values() if part.since)
        return max((0.0, *answers, *flushes))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        call = object()
        self._asked[call] = time.monotonic()
        try:
            yield
        finally:
            del self._asked[call]

    def position(self, partition: int) -> int | None:
        """Offset of the next decision to take of a partition; None if this worker does not own it, or others go on
        without this slot."""
        part = self.owned.get(partition)
        return None if part is None or part.is_left else part.position

    def pass_over(self, batch: Batch) -> None:
        """Leave a batch to the other slots; it is read again for this one by `catch_up`."""
        part = self.owned.get(batch.partition)
        if part is not None and batch.next > part.position:
            part.is_left = True
        self._reading.finish(self._slot, batch)

    def catch_up(self) -> None:
        """Read on from where the others went on without this slot."""
        for partition, part in self.owned.items():
            if part.is_left:
                part.is_left = False
                self._reading.rewind(partition)

    def drop(self, *batches: Batch) -> None:
        """Give up batches without acknowledging them; see `Reading.drop`."""
        for batch in batches:
            self._reading.drop(self._slot, batch)

    async def wanted(self, batch: Batch) -> Partition | None:
        """The partition of a batch of which the slot takes what is at its position and after it.

        None if it takes nothing: it has all of it, or cannot go on with it. Then the batch is finished or dropped.
        """
        part = self.owned.get(batch.partition)
        if part is None or part.is_left:
            self.drop(batch)
            return None
        if batch.next <= part.position:  # it came again for another slot; what is pending of it is on its way to Redis
            self._reading.finish(self._slot, batch)
            return None
        if batch.expected > part.position:  # a batch before it was dropped; the fence must not skip that one
            self.drop(batch)
            log.warning(
                "slot %s: partition %d: expected offset %d, got %d; reading again",
                self._slot,
                batch.partition,
                part.position,
                batch.expected,
            )
            self._reading.rewind(batch.partition)
            return None
        return part if batch.offset <= part.position or await self._is_whole(part, batch) else None

    async def open(self, partition: int, oldest: int) -> Partition:
        """Open a partition at its fence; waits while Redis is unavailable. oldest: first offset not yet deleted by
        retention."""
        while True:
            try:
                with self._asking():
                    return await self._open(partition, oldest)
            except AWAY as error:
                self._is_away(error)
                if self._reading.app.should_stop:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def _is_away(self, error: Exception) -> None:
        self.redis_errors += 1
        metrics.REDIS_ERRORS.labels(self._slot).inc()
        log.warning("redis is away, waiting: %s", error)

    async def _open(self, partition: int, oldest: int) -> Partition:
        former = await self._store.forget_former(partition)
        if former is not None:
            log.warning(
                "slot %s: partition %d: its tallies up to offset %d are of a former version and were deleted; its runs "
                "are counted anew",
                self._slot,
                partition,
                former,
            )
        begin = oldest
        if not await self._store.is_known(partition):
            begin = await self._reading.begin(partition, self._since_ms(), oldest)
        fence = await self._store.open_partition(partition, begin)
        self.opened += 1
        if fence.is_new:
            log.info("slot %s: partition %d is new in redis, from offset %d", self._slot, partition, fence.next)
        if fence.next < oldest:
            log.error(
                "slot %s: partition %d: retention took decisions %d to %d unread",
                self._slot,
                partition,
                fence.next,
                oldest,
            )
            await self._store.record_gap(partition, fence, oldest)
            metrics.GAPS.labels(self._slot).inc(oldest - fence.next)
            fence = await self._store.open_partition(partition, oldest)
        start = max(oldest, fence.next - LOOK_BACK)
        memory = Memory(Sources.read(fence.decided, fence.source))
        taus, begun = Thresholds(await self._store.taus(partition)), await self._store.newest_epoch(partition)
        return Partition(fence, start, memory, taus, fence.next, begun)

    async def _is_whole(self, part: Partition, batch: Batch) -> bool:
        """Whether no decision is missing before a batch, although offsets are: Kafka's own records take some, too.

        If retention deleted decisions, drops the batch and opens the partition again after the gap.
        """
        oldest = await self._reading.oldest(batch.partition)
        if oldest <= part.position:
            return True
        self.drop(batch)
        await self.flush(batch.partition, part)
        await self._reopen(batch.partition, oldest)
        return False

    async def flush(self, partition: int, part: Partition) -> None:
        """Write what is pending to Redis and acknowledge its batches; go back to the fence if Redis refuses."""
        async with part.flushing:
            if not part.waiting:
                return
            increment, batches, to = part.pending, part.waiting, part.reached
            part.pending, part.waiting, part.since = Increment(), [], 0.0
            started = time.perf_counter()
            outcome = await self._apply(partition, part.fence, to, increment)
            if outcome is None:
                self.drop(*batches)
                return
            metrics.STAGE.labels(self._slot, "flush").observe(time.perf_counter() - started)
            if not isinstance(outcome, Applied):
                self.drop(*batches)
                await self._go_back(partition, "wiped" if isinstance(outcome, Wiped) else "stale")
                return
            part.taus.told(outcome.taus)
            source = max(part.fence.source, increment.source)
            part.fence = Fence(part.fence.nonce, max(to, part.fence.next), source, False)
            for batch in batches:
                self._reading.finish(self._slot, batch)
            self._counting.applied(increment, batches, self._reading.end(partition))

    async def _apply(
        self, partition: int, fence: Fence, to: int, increment: Increment
    ) -> Applied | Stale | Wiped | None:
        """Apply a range; waits while Redis is unavailable. None if a rebalance begins or the worker stops before."""
        if to <= fence.next:
            return Applied({})  # all of it was applied before; it was read again to learn its scores
        is_repeated = False
        while True:
            try:
                with self._asking():
                    outcome = await self._store.apply(partition, fence, to, increment)
            except AWAY as error:
                self._is_away(error)
                if self._reading.app.rebalancing or self.is_draining:
                    return None
                is_repeated = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if is_repeated and isinstance(outcome, Stale) and outcome.next == to:
                return Applied({})  # an earlier try succeeded, and only its answer was lost
            return outcome

    async def flush_due(self, seconds: float) -> None:
        """Flush every partition whose oldest batch has waited for `seconds` or longer."""
        now = time.monotonic()
        for partition, part in list(self.owned.items()):
            if part.waiting and now - part.since >= seconds:
                await self.flush(partition, part)

    async def check(self) -> None:
        """Go back to the fence of every idle partition that Redis has lost. Of the others, a flush notices."""
        for partition, part in list(self.owned.items()):
            try:
                async with part.flushing:
                    is_idle = not part.waiting and part is self.owned.get(partition)
                    with self._asking():
                        is_lost = is_idle and not await self._store.stands(partition, part.fence)
                    if is_lost:
                        await self._go_back(partition, "lost")
            except AWAY as error:
                self._is_away(error)

    async def _go_back(self, partition: int, reason: str) -> None:
        """Read a partition again from the fence that Redis has, as it is not where this worker left it."""
        metrics.REFUSED.labels(self._slot, reason).inc()
        log.error("slot %s: partition %d: redis is %s; going back to its fence", self._slot, partition, reason)
        await self._reopen(partition, await self._reading.oldest(partition))

    async def _reopen(self, partition: int, oldest: int) -> None:
        """Open a partition again at the fence that Redis has now, unless it was revoked meanwhile."""
        old = self.owned.get(partition)
        if old is None:
            return
        fresh = await self.open(partition, oldest)
        self.drop(*old.waiting)  # also those that came while opening: a revocation waits for all
        if self.owned.get(partition) is not old:
            return
        self.owned[partition] = fresh
        self._reading.rewind(partition)
