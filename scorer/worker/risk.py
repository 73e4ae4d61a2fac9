"""Follows the topic of merchant risk: which snapshots this worker looks merchants up in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.errors import UserError
from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.reading import read_to_end, reader
from scorer.pipeline.merchant_risk import Snapshot
from scorer.pipeline.risk_lookup import Snapshots
from scorer.pipeline.risk_records import Assembly
from scorer.pipeline.risk_view import EFFECTIVE_AFTER_MS, Risk
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: Pause after Kafka was unavailable, or while the topic is missing.
RETRY_SECONDS = 1.0
#: How long a worker waits at its start for the snapshots that there are. Without any it decides as well.
START_SECONDS = 15.0


class RiskTail:
    """Keeps `snapshots` up to date. Nothing in it can stop a worker: without it, features of merchants are missing."""

    def __init__(self, settings: ScorerSettings, risk: Risk) -> None:
        self._settings, self._risk = settings, risk
        units = settings.money.reporting.minor_per_unit
        self.snapshots = Snapshots(len(risk.names), units, settings.risk_snapshots)
        self._has_read = asyncio.Event()
        self._said = -1  # offset of the last record that was said to be of no use
        self._is_stopping = False
        self._started = time.time()

    async def wait(self) -> None:
        """Wait until what there is has been read, for a while."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_read.wait(), START_SECONDS)
        newest = self.snapshots.newest
        if newest is None:
            log.warning(
                "merchant risk: topic %s has no snapshot for this feature view; its features are missing in decisions "
                "until `scorer risk` has published one",
                self._settings.topics.risk,
            )
        else:
            log.info("merchant risk: snapshot %s of %d merchants", newest.version, len(newest.keys))

    def stop(self) -> None:
        """Have `run` end at its next chance; see `scorer.deployments.ledger.Follower.stop`."""
        self._is_stopping = True

    def show(self) -> None:
        """Set the metric of what is overdue. On the event clock nobody knows."""
        if self._settings.clock != "wall":
            return
        newest = self.snapshots.newest
        since = self._started if newest is None else (newest.effective_ms + self._risk.period_ms) / 1000
        metrics.RISK_OVERDUE.set(max(0.0, time.time() - since))

    async def run(self) -> None:
        """Follow the topic until `stop`."""
        topic = self._settings.topics.risk
        while not self._is_stopping:
            try:
                async with reader(self._settings) as consumer:
                    if topic in await consumer.topics():
                        await self._follow(consumer, TopicPartition(topic, 0))
            except (KafkaError, OSError, UserError) as error:
                log.warning("merchant risk: cannot be followed, trying again: %s", error)
            self._has_read.set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: Any, part: TopicPartition) -> None:
        assembly, after = Assembly(self._risk), 0
        async for _, records in read_to_end(consumer, {part: None}):
            await self._fold(assembly, records)
            after = records[-1].offset + 1
        self._has_read.set()
        consumer.assign([part])  # `read_to_end` leaves out what is empty
        consumer.seek(part, after)
        while not self._is_stopping:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                await self._fold(assembly, records)
            require_tasks(consumer)

    async def _fold(self, assembly: Assembly, records: Sequence[Any]) -> None:
        for record in records:
            try:  # in a thread: a large snapshot must not keep decisions waiting
                found = await asyncio.to_thread(self._folded, assembly, record)
            except ValueError as error:
                if record.offset > self._said:  # once, however often the topic is read again
                    self._said = record.offset
                    metrics.FOREIGN.labels(self._settings.topics.risk).inc()
                    log.warning("merchant risk: passed over the snapshot at offset %d: %s", record.offset, error)
                continue
            if found is not None:
                self.snapshots = found

    def _folded(self, assembly: Assembly, record: Any) -> Snapshots | None:
        snapshot: Snapshot | None = assembly.fold(record.key, record.value)
        if snapshot is None:
            return None
        is_ahead = self._settings.clock == "wall" and 0 < record.timestamp + EFFECTIVE_AFTER_MS < snapshot.as_of_ms
        if is_ahead or snapshot.as_of_ms % self._risk.period_ms:
            raise ValueError("its time is in the future, or none at which there are snapshots")
        return self.snapshots.with_one(snapshot)
