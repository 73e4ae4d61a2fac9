"""Watches each slot's backlog of decisions and the memory of Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from scorer.deployments.records import LIVE
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.kafka.reading import reader, spans
from scorer.kafka.topics import partitions_of
from shadow import metrics
from shadow.serve.backlog import backlog
from shadow.settings import ShadowSettings
from shadow.store.connection import AWAY, memory
from shadow.store.reader import TallyReader

log = logging.getLogger(__name__)


class Watch:
    """Keeps the metrics of backlog and memory up to date. store_of: returns the store of a slot."""

    def __init__(self, settings: ShadowSettings, redis: Any, store_of: Callable[[str], TallyReader]) -> None:
        self._settings, self._redis, self._store_of = settings, redis, store_of
        self._slots: set[str] = set()

    async def look(self, deployments: Deployments) -> None:
        """Update the metrics. If Kafka or Redis is unavailable, logs it and removes them, as they would be outdated."""
        try:
            await self._look(deployments)
        except (*AWAY, KafkaError, UserError) as error:
            metrics.WATCH_ERRORS.inc()
            for gauge in (metrics.UNREAD, metrics.RETENTION_USED, metrics.REDIS_USED, metrics.REDIS_LIMIT):
                gauge.clear()
            log.warning("cannot measure backlogs and memory: %s", error)

    async def _look(self, deployments: Deployments) -> None:
        for node, (used, limit) in (await memory(self._redis)).items():
            metrics.REDIS_USED.labels(node).set(used)
            metrics.REDIS_LIMIT.labels(node).set(limit)
        parts = await partitions_of(self._settings, self._settings.topics.decisions)
        if not parts:
            return
        async with reader(self._settings) as consumer:
            ends = await spans(consumer, parts)
        filled = {name for name, slot in deployments.slots.items() if slot.digest and name != LIVE}
        for gone in self._slots - filled:
            metrics.UNREAD.remove_by_labels({"slot": gone})
            metrics.RETENTION_USED.remove_by_labels({"slot": gone})
        self._slots = filled
        for slot in filled:
            fences = {part.partition: part.next for part in await self._store_of(slot).progress()}
            seen = backlog(ends, fences)
            metrics.UNREAD.labels(slot).set(seen.unread)
            metrics.RETENTION_USED.labels(slot).set(seen.retention_used)
