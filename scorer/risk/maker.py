"""Makes snapshots of merchant risk from decisions and labels, and publishes each once it is due.

Its state is a function of the topics: at each start, and after each trouble with Kafka, it reads them again and goes on
from the newest snapshot that was published whole. So a kill changes nothing, and a second one beside it publishes the
same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.errors import BrokerError, UserError
from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.producer import BatchProducer
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.topics import ensure_topics, partitions_of
from scorer.pipeline.instants import HOUR_MS, stamps
from scorer.pipeline.merchant_risk import Moved, Past, Snapshot
from scorer.pipeline.risk_records import Assembly, records
from scorer.pipeline.risk_view import Risk
from scorer.process.health import Health
from scorer.risk.reading import Reading
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: Pause after Kafka was unavailable.
RETRY_SECONDS = 2.0
#: So long after a snapshot is due, what was appended before has come; much less than `EFFECTIVE_AFTER_MS`.
SETTLE_SECONDS = 5.0
#: Longest wait of a fetch, and most fetches after which what comes is new.
WAIT_MS, MOST_FETCHES = 500, 100
#: So few merchants never hold a snapshot back: the cap on each is enough.
FEW = 5


class RiskMaker:
    """Publishes snapshots until `stopping`. once: those that are due by now."""

    def __init__(self, settings: ScorerSettings, risk: Risk, health: Health, once: bool = False) -> None:
        self._settings, self._risk, self._health, self._once = settings, risk, health, once
        self._producer = BatchProducer(settings, settings.compression)
        self._is_wall = settings.clock == "wall"
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Publish. Raises UserError if a topic is missing, or no broker answers at the start."""
        names = self._settings.topics
        await ensure_topics(self._settings, names.risk)
        parts = await partitions_of(self._settings, names.decisions, names.labels)
        for name in (names.decisions, names.labels):
            if all(part.topic != name for part in parts):
                raise BrokerError(
                    f"topic {name}: is missing, or this user may not describe it; create it with `scorer topics`"
                )
        await self._producer.start(require_idempotence=False)
        try:
            while not self.stopping.is_set():
                try:
                    async with reader(self._settings) as consumer:
                        await self._follow(consumer)
                    return
                except (KafkaError, OSError, BrokerError) as error:
                    self._health.not_ready = "Kafka is away"
                    if self._once:
                        raise UserError(f"merchant risk: Kafka failed ({error}); run it again") from None
                    log.warning("merchant risk: trouble with Kafka, beginning again: %s", error)
                    await self._pause()
        finally:
            await self._producer.stop()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        self._health.not_ready = "reading decisions and labels"
        names = self._settings.topics
        last = await self._published()
        past = Past(self._risk)
        self._forget(past, last)
        reading = Reading(past, self._is_wall)
        parts = await partitions_of(self._settings, names.decisions, names.labels)
        after = await consumer.beginning_offsets(parts)
        async for tp, found in read_to_end(consumer, dict.fromkeys(parts)):
            await asyncio.to_thread(self._take, reading, tp, found)
            after[tp] = found[-1].offset + 1
            if self.stopping.is_set():
                return
        consumer.assign(parts)  # `read_to_end` leaves out what is empty
        for tp, offset in after.items():
            consumer.seek(tp, offset)
        done: int | None = None
        if last is not None:
            await asyncio.to_thread(past.step, last.as_of_ms)
            past.resume(last)
            done = last.as_of_ms
        self._health.not_ready = None
        while not self.stopping.is_set():
            due = self._due(reading)
            if due is not None and (done is None or due > done):
                await self._read_on(consumer, reading, parts)
                done = await self._advance(past, done, due)
            if self._once:
                return
            await self._poll(consumer, reading)

    async def _published(self) -> Snapshot | None:
        """The newest snapshot that was published whole."""
        assembly, newest = Assembly(self._risk), None
        async with reader(self._settings) as consumer:
            async for _, found in read_to_end(consumer, {TopicPartition(self._settings.topics.risk, 0): None}):
                for record in found:
                    try:
                        snapshot = assembly.fold(record.key, record.value)
                    except ValueError as error:
                        log.warning("merchant risk: passed over the snapshot at offset %d: %s", record.offset, error)
                        continue
                    if snapshot is not None and (newest is None or snapshot.as_of_ms > newest.as_of_ms):
                        newest = snapshot
        return newest

    def _forget(self, past: Past, last: Snapshot | None) -> None:
        """What no snapshot will look back at is not kept."""
        if last is not None:
            past.begin(last.as_of_ms // HOUR_MS - self._risk.memory_hours)
        elif self._is_wall:
            past.begin(int(time.time()) // 3600 - 2 * self._risk.memory_hours)

    def _take(self, reading: Reading, tp: TopicPartition, found: Sequence[Any]) -> None:
        if tp.topic == self._settings.topics.labels:
            reading.labels(found)
        else:
            reading.decisions(found)

    async def _poll(self, consumer: AIOKafkaConsumer, reading: Reading) -> bool:
        fetched = await consumer.getmany(timeout_ms=WAIT_MS)
        require_tasks(consumer)
        for tp, found in fetched.items():
            await asyncio.to_thread(self._take, reading, tp, found)
        return bool(fetched)

    async def _read_on(self, consumer: AIOKafkaConsumer, reading: Reading, parts: Sequence[TopicPartition]) -> None:
        """Read all that is there by now."""
        ends = await consumer.end_offsets(parts)  # lower bounds, as in `scorer.kafka.reading`
        for _ in range(MOST_FETCHES):
            is_more = await self._poll(consumer, reading)
            reached = [await consumer.position(tp) >= end for tp, end in ends.items()]
            if all(reached) and not is_more:
                return

    def _due(self, reading: Reading) -> int | None:
        """Time of the newest snapshot that is due; None before the first transaction on the event clock."""
        period = self._risk.period_ms
        if self._is_wall:
            return int((time.time() - SETTLE_SECONDS) * 1000) // period * period
        return None if reading.newest_ms is None else reading.newest_ms // period * period

    async def _advance(self, past: Past, done: int | None, due: int) -> int:
        """Go forward to the snapshot that is due; publish those that the topic keeps."""
        period = self._risk.period_ms
        first = past.first_ms if done is None else done + period
        if first is None:
            return due
        for moment in range(max(first, due - 2 * self._risk.memory_hours * HOUR_MS), due + 1, period):
            is_first = bool(np.isnan(past.overall))
            moved = await asyncio.to_thread(past.step, moment)
            if past.is_empty:
                continue
            if not is_first and self._is_held(moved, moment):
                past.undo()
                continue
            if moment > due - self._settings.risk_snapshots * period:
                await self._publish(await asyncio.to_thread(past.snapshot, moment), moved)
        return due

    def _is_held(self, moved: Moved, moment: int) -> bool:
        most = max(FEW, self._settings.risk_most_capped * moved.merchants)
        is_held = self._settings.risk_most_capped < 1 and moved.capped > most
        metrics.RISK_HELD.set(is_held)
        if is_held:
            log.error(
                "merchant risk: held back the snapshot of %s: the fraud rates of %d of %d merchants would move further "
                "than they may, %d are allowed. Look at the labels that came last; if they are right, start once with "
                "SCORER_RISK_MOST_CAPPED=1",
                stamps(np.array([moment]))[0], moved.capped, moved.merchants, int(most),
            )  # fmt: skip
        return is_held

    async def _publish(self, snapshot: Snapshot, moved: Moved) -> None:
        written = list(records(snapshot, self._risk, self._settings.risk_snapshots))
        await self._producer.write(self._settings.topics.risk, 0, written)
        metrics.RISK_PUBLISHED.inc()
        metrics.RISK_MERCHANTS.labels("paid").set(moved.merchants)
        metrics.RISK_MERCHANTS.labels("capped").set(moved.capped)
        log.info(
            "merchant risk: published %s of %s: %d merchants, %d of them capped, overall %.5f",
            snapshot.version, stamps(np.array([snapshot.as_of_ms]))[0], moved.merchants, moved.capped, snapshot.overall,
        )  # fmt: skip
