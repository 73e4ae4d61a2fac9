"""The scorer's handler: settles each fetch, publishes decisions, writes card states, then acknowledges the offsets.

A fetch holds a batch for each of some partitions. For each fetch, in this order:

1. settle: decode, compute features, predict once, encode. This runs in a thread of its own, so that one fetch is
   settled while the one before is written;
2. publish decisions and dead letters, to the same partitions as the transactions, and wait for the acknowledgement;
3. write the card states that changed, each with the last source offset it absorbed, and wait again (`writer.py`);
4. acknowledge the offsets to Faust, which commits them.

Fetches are published one after the other, and so are their card states; those of one fetch go with the decisions of the
next. A failed send stops the worker, so a partition never has a later decision without the earlier ones.

A worker that takes a partition over has the broker refuse the earlier owner (`kafka/fence.py`), reads how far steps 2
and 3 had come, and goes on from there: records that are published already only update card states.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from scorer import metrics
from scorer.deployments.ledger import Follower, put
from scorer.deployments.records import WorkerReport, encode
from scorer.deployments.slots import Deployments
from scorer.deployments.views import published_view
from scorer.errors import UserError
from scorer.kafka.fence import RENEW_SECONDS, FencedProducer
from scorer.kafka.topics import partitions_of
from scorer.pipeline import changelog
from scorer.pipeline.batch import Incoming, Part, Rules
from scorer.pipeline.erasure import ErasureAnswer
from scorer.pipeline.exploration import Exploration
from scorer.pipeline.settle import settle_all
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.process.computing import Computing
from scorer.process.health import Health
from scorer.process.memory import memory_limit
from scorer.process.tasks import Tasks
from scorer.schemas.schemas import Schemas
from scorer.settings import ScorerSettings
from scorer.streaming.app import BatchApp, Owned, SupersededError
from scorer.streaming.fetch import Batch
from scorer.worker.counting import Counting
from scorer.worker.erasures import Erasures
from scorer.worker.exploration import say
from scorer.worker.live import LiveLoader
from scorer.worker.placement import Placement
from scorer.worker.recovery import IN_FLIGHT
from scorer.worker.risk import RiskTail
from scorer.worker.takeover import Takeover, say_missed
from scorer.worker.writer import Partition, Removal, Work, Writer

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
DAY_SECONDS = 86_400
#: Time between two looks for the partitions that the other topics lack.
GROWN_SECONDS = 2.0
#: How many times as long as one request a write may take before it fails: it is repeated until then, and a batch that
#: had to wait for another one's answer begins late.
LONGEST_WRITES = 2
COMPUTE = metrics.STAGE.labels("compute")


class Scorer:
    """Handler of the `transactions` partitions of this worker; see `scorer.streaming.app.Handler`."""

    def __init__(
        self,
        settings: ScorerSettings,
        view: FeatureView,
        reading: Reading,
        live: LiveLoader,
        health: Health,
        counting: Counting,
        schemas: Schemas | None = None,
        decision_schema: int | None = None,
        exploration: Exploration | None = None,
    ) -> None:
        self.settings, self.view, self.health = settings, view, health
        self._schemas = schemas
        ahead_ms = int(settings.ahead_seconds * 1000) if settings.clock == "wall" else None
        self._rules = Rules(view, reading, ahead_ms, frozenset(settings.carried_headers), decision_schema, exploration)
        self._live = live
        self._counting = counting
        self._follower = Follower(settings, self._on_deployments)
        self._producer = FencedProducer(settings)
        self._pool = Computing("settle")
        self._takeover = Takeover(settings, self._producer, view)
        self._writer = Writer(self._producer, settings.topics, self)
        self._partitions: dict[int, Partition] = {}
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._order = asyncio.Lock()  # what is done to card states is written in the order in which it was done
        self._erasures = Erasures(settings)
        self._placement = Placement()
        self._risk = None if view.risk is None else RiskTail(settings, view.risk)
        self._taking = asyncio.Lock()
        self._tasks = Tasks(self._task_ended)
        self._is_draining = False
        self.app = BatchApp(settings, settings.group, settings.topics.transactions, self)

    async def start(self) -> None:
        self._tasks.start(self.health.beat(), "beat")  # first: waiting for Kafka is not stuck
        await self._producer.start(self.settings.require_idempotence)
        if not self._producer.is_idempotent:
            log.warning("the broker has no idempotent producers: a send that is retried may write records twice")
        if self._rules.exploration is not None:
            partitions = len(await partitions_of(self.settings, self.settings.topics.transactions))
            say(self.settings, self._rules.exploration, partitions, self._producer.is_fencing)
        if self._risk is not None:
            self._tasks.start(self._risk.run(), "risk")
        await self._follower.start(self._tasks.start)
        await self._live.load()
        self._live.require()
        mine = published_view(self.view, self.settings.money.reporting, self._follower.deployments)
        if mine is not None:
            await self._tell(f"view/{self.view.id}", encode(mine))
        for work, name in (
            (self._live.run(), "live"),
            (self._live.tell(self._report), "report"),
            (self._writer.run(), "write"),
            (self._tick(), "tick"),
            (self._renew(), "renew"),
            (self._erasures.run(), "erasures"),
            (self._erase_all(), "erase"),
            (self._adopt(), "adopt"),
        ):
            self._tasks.start(work, name)
        if self._risk is not None:
            await self._risk.wait()

    async def drain(self) -> None:
        self._is_draining = True
        self.health.not_ready = "stopping"
        for _ in range(IN_FLIGHT):  # a fetch holds its place until it is written or given up
            await self._room.acquire()
        for _ in range(IN_FLIGHT):
            self._room.release()

    async def close(self) -> None:
        self._follower.stop()
        self._erasures.stop()
        if self._risk is not None:
            self._risk.stop()
        await self._tasks.stop()
        try:
            await put(self.settings, {f"worker/{self.settings.worker_id}": None})
        except UserError as error:
            log.warning("could not remove this worker's report from the deployments topic: %s", error)
        await self._producer.stop()
        if self._schemas is not None:
            await self._schemas.close()
        self._pool.shutdown(wait=False)

    async def assign(self, owned: Sequence[Owned]) -> Mapping[int, int]:
        async with self._taking:
            kept = {o.partition: self._partitions[o.partition] for o in owned if self._is_kept(o)}
            self._partitions = dict(kept)
            started = time.perf_counter()
            fresh = [o for o in owned if o.partition not in kept]
            there = await self._takeover.there([o.partition for o in fresh])
            self._takeover.wait_for(frozenset(o.partition for o in fresh) - there)
            self._partitions |= await self._takeover.take([o for o in fresh if o.partition in there])
        took = time.perf_counter() - started
        log.info("owns %d partitions (%d kept), ready in %.2f s", len(owned), len(kept), took)
        self.health.not_ready = None
        self._erasures.look()
        return {partition: part.next for partition, part in self._partitions.items()}

    async def _adopt(self) -> None:
        """Take partitions up as soon as every topic has them, until cancelled."""
        while True:
            await asyncio.sleep(GROWN_SECONDS)
            try:
                if self._takeover.waiting and not self.app.rebalancing and not self._is_draining:
                    await self._adopt_some()
            except (KafkaError, UserError, SupersededError) as error:
                log.warning("could not take up added partitions, will try again: %s", error)

    async def _adopt_some(self) -> None:
        generation = self.app.consumer_generation_id
        async with self._taking:
            there = await self._takeover.there(sorted(self._takeover.waiting))
            if not there:
                return
            taken = await self._takeover.take(await self.app.owned(there))
            if self.app.rebalancing or self.app.consumer_generation_id != generation:
                return  # which hands them out anew
            self._partitions |= taken
            self._takeover.wait_for(self._takeover.waiting - there)
            self.app.adopt({partition: part.next for partition, part in taken.items()})
        log.info("took up added partitions: %s", ", ".join(map(str, sorted(taken))))
        self._erasures.grown()
        self._erasures.look()

    @property
    def patient_until(self) -> float:
        writing = self._writer.writing_since
        longest_write = LONGEST_WRITES * self.settings.request_seconds
        return max(self._takeover.patient_until, 0.0 if writing is None else writing + longest_write)

    def signs(self) -> Any:
        return self._pool.cpu_ticks, self._takeover.read, self._schemas and self._schemas.asked

    def _is_kept(self, owned: Owned) -> bool:
        part = self._partitions.get(owned.partition)
        return owned.kept and part is not None and not part.is_spoiled and part.next >= (owned.committed or 0)

    async def revoke(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            metrics.LAG.labels(str(partition)).set(0)
            for gauge in (metrics.EXPLORATION_SPENT, metrics.EXPLORATION_EXHAUSTED):
                with suppress(KeyError):
                    gauge.remove(str(partition))
            if partition in self._partitions and self._partitions[partition].is_spoiled:
                del self._partitions[partition]

    async def accept(self, batches: Sequence[Batch]) -> None:
        await self._room.acquire()
        try:
            async with self._order:
                work = await self._settle(batches)
                if work is not None:
                    self._writer.put(work)
        except BaseException:
            self._room.release()
            raise
        if work is None:
            self._room.release()

    async def _settle(self, batches: Sequence[Batch]) -> Work | None:
        """Decide the transactions of a fetch; None if no partition in it is ours any more."""
        if self._schemas is not None:
            values = [record.value for batch in batches for record in batch.records]
            await self._schemas.ready(values, lambda: self._is_draining)
        taken = []
        for batch in batches:
            part = self._partitions.get(batch.partition)
            if part is None or part.is_spoiled or self._is_draining:
                self.app.consumer.drop(batch)
            else:
                await self._count_missed(batch)
                taken.append((batch, part))
        if not taken:
            return None
        model = self._live.require()
        started = time.perf_counter()
        parts = [Part(_incoming(batch), part.states, part.published, part.budget) for batch, part in taken]
        now_ms = int(time.time() * 1000) if self.settings.clock == "wall" else None
        rules = self._rules if self._risk is None else replace(self._rules, risk=self._risk.snapshots)
        try:
            settled = await asyncio.get_running_loop().run_in_executor(
                self._pool, settle_all, parts, model, rules, now_ms
            )
        except BaseException:
            for _, part in taken:
                part.is_spoiled = True
            raise
        metrics.BATCH_RECORDS.observe(sum(len(batch) for batch, _ in taken))
        COMPUTE.observe(time.perf_counter() - started)
        return Work([(*pair, made) for pair, made in zip(taken, settled, strict=True)], str(model.digest)[:12])

    async def _count_missed(self, batch: Batch) -> None:
        """Log and count offsets before a batch that retention deleted. Gaps that control records leave are fine."""
        if batch.offset == batch.expected:
            return
        tp = TopicPartition(batch.topic, batch.partition)
        oldest = (await self.app.consumer.earliest_offsets(tp))[tp]
        if oldest > batch.expected:
            say_missed(batch.partition, batch.expected, min(oldest, batch.offset))

    async def _task_ended(self, error: Exception) -> None:
        if not self._is_draining:
            await self.app.fail(error)

    async def may_publish(self, work: Work) -> bool:
        if not await self.app.surely_ours() or any(part.is_spoiled for _, part in work.parts):
            return False
        # A rebalance waits for fetches, not for removals.
        return work.removal is None or self._partitions.get(work.removal.partition) is work.removal.part

    def published(self, work: Work) -> None:
        done_s = time.time()
        for batch, _, made in work.taken:
            self._counting.note(made, len(batch), work.bundle, done_s)
            self._placement.note_miskeyed(batch.partition, made.miskeyed)

    def finished(self, work: Work) -> None:
        for batch, part, made in work.taken:
            part.next = batch.next
            metrics.DROPPED.labels("idle").inc(changelog.count_cards(made.dropped))
            self.app.consumer.finish(batch)
        if work.removal is not None:
            metrics.DROPPED.labels("erased").inc()
            work.removal.part.erasures.add(work.removal.request)
            work.removal.done.set_result(True)
        self._room.release()

    async def gave_up(self, work: Work, error: Exception | None) -> None:
        """Acknowledge nothing of this work, nor of anything after it: memory is ahead of the topics now."""
        for _, part in work.parts:
            part.is_spoiled = True
        for batch, _, _ in work.taken:
            self.app.consumer.drop(batch)
        if work.removal is not None:
            work.removal.done.set_result(False)
        self._room.release()
        if isinstance(error, ProducerFenced):
            self._say_fenced(work, error)
        elif error is not None:
            await self.app.fail(error)

    def _say_fenced(self, work: Work, error: ProducerFenced) -> None:
        """Log and count work that another scorer has taken over. The rebalance that moved it should reach us soon."""
        n = sum(len(batch) for batch, _, _ in work.taken)
        metrics.FENCED.inc(n)
        partitions = ", ".join(str(partition) for partition, _ in work.parts)
        log.warning("fenced: %d transactions of partitions %s are left to the scorer that has them now", n, partitions)
        # else the rebalance was there before the news
        if any(self._partitions.get(partition) is part for partition, part in work.parts):
            self._tasks.start(self._expect_rebalance(error), "fenced", may_end=True)

    async def _expect_rebalance(self, error: ProducerFenced) -> None:
        """Stop the worker if no rebalance follows: it owns partitions that another scorer writes."""
        if not (self.app.rebalancing or await self.app.rebalanced(self.app.consumer_generation_id)):
            await self.app.fail(error)

    async def _erase_all(self) -> None:
        """Carry out requests to erase cards, each in the partitions that are ours, until cancelled."""
        while True:
            await self._erasures.news()
            for partition, name, request in self._erasures.of(list(self._partitions)):
                part = self._partitions.get(partition)
                if part is None or part.is_spoiled or self._is_draining:
                    continue
                done = await self._erase(partition, part, name, request.card_id)
                if done is None:
                    continue
                answer = ErasureAnswer(at=_now(), done=done, worker=self.settings.worker_id)
                try:
                    topic = self.settings.topics.erasures
                    await self._producer.append(topic, name.encode(), answer.encode(), partition)
                except KafkaError as error:
                    log.warning("erasures: could not answer, will try again: %s", error)
                else:
                    self._erasures.close(partition, name)

    async def _erase(
        self, partition: int, part: Partition, name: str, card: str
    ) -> Literal["erased", "nothing"] | None:
        """Erase a card's state from memory and changelog; None if the partition is not ours any more.

        A request that an earlier owner carried out, and could not answer any more, is on the changelog.
        """
        if name in part.erasures:
            return "erased"
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        await self._room.acquire()
        try:
            async with self._order:
                gone = await loop.run_in_executor(self._pool, changelog.erased, part.states, card, name)
                if gone:
                    self._writer.put(Work([], "", Removal(partition, part, name, gone, done)))
        except BaseException:
            self._room.release()
            raise
        if not gone:
            self._room.release()
            return "nothing"
        return "erased" if await done else None

    def _show_lag(self) -> None:
        """Called every second, so that the lag grows even while the worker finishes nothing."""
        for partition, part in list(self._partitions.items()):
            waiting = self.app.consumer.waiting(TP(self.settings.topics.transactions, partition), part.next)
            metrics.LAG.labels(str(partition)).set(waiting)

    def _show_spending(self) -> None:
        exploration = self._rules.exploration
        if exploration is None:
            return
        today = int(time.time()) // DAY_SECONDS if self.settings.clock == "wall" else None
        for partition, part in list(self._partitions.items()):
            spent = part.budget.spending.spent(today)
            metrics.EXPLORATION_SPENT.labels(str(partition)).set(spent / exploration.share)
            metrics.EXPLORATION_EXHAUSTED.labels(str(partition)).set(spent + exploration.maximum > exploration.share)

    async def _on_deployments(self, deployments: Deployments) -> None:
        self._live.note(deployments)

    async def _report(self, report: WorkerReport) -> None:
        await self._tell(f"worker/{self.settings.worker_id}", encode(report))

    async def _tell(self, key: str, value: bytes) -> None:
        await self._producer.append(self.settings.topics.deployments, key.encode(), value)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._producer.renew(list(self._partitions))
            except KafkaError as error:
                log.warning("could not renew the producer fence, will try again: %s", error)

    async def _tick(self) -> None:
        metrics.MEMORY_LIMIT.set(self.settings.memory_bytes or memory_limit())
        while True:
            states = [part.states for part in self._partitions.values()]
            metrics.CARDS.set(sum(map(len, states)))
            metrics.CARD_BYTES.set(sum(part.memory_bytes for part in states))
            metrics.MODEL_AGE.set(self._live.age_seconds)
            self._show_lag()
            self._show_spending()
            if self._risk is not None:
                self._risk.show()
            self._placement.look({partition: part.states for partition, part in self._partitions.items()})
            await asyncio.sleep(TICK_SECONDS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _incoming(batch: Batch) -> Incoming:
    """A batch as the pipeline takes it."""
    records, n = batch.records, len(batch)
    headers = [record.headers for record in records]
    return Incoming(
        batch.partition,
        [record.key for record in records],
        [record.value for record in records],
        np.fromiter((record.offset for record in records), np.int64, n),
        np.fromiter((record.timestamp for record in records), np.int64, n),
        headers if any(headers) else (),
    )
