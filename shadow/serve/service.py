"""What `shadow serve` does beside answering: runs the gate, writes its suggestions, watches how far the slots are."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

from scorer.deployments import LIVE, Deployments
from scorer.errors import UserError
from scorer.ledger import Follower
from scorer.store import BundleStore
from scorer.topics import partitions_of, reader, spans
from shadow import gauges, metrics
from shadow.backlog import backlog
from shadow.connection import AWAY, connect, memory
from shadow.criteria import Release
from shadow.labelfeed import LabelTail
from shadow.labelstore import LabelStore
from shadow.look import Look, control_totals, judged_slots, look, proposal
from shadow.promotion import suggest
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

#: `/readyz` fails when the gate has not looked for so many of its intervals.
LATE_LOOKS = 5


class Serve:
    """State behind the API: a client of Redis, a fold of the ledger, and the last looks."""

    def __init__(self, settings: ShadowSettings, release: Release) -> None:
        self.settings, self.release = settings, release
        self.redis = connect(settings.redis)
        self.looks: dict[str, Look] = {}
        self.looked = time.monotonic()
        self.trouble: str | None = "starting"
        self._bundles = BundleStore(settings.store, settings.cache)
        self._follower = Follower(settings, self._noted)
        self._labels = LabelTail(settings, LabelStore(self.redis, settings.prefix, settings.label_days))
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._watched: set[str] = set()

    @property
    def deployments(self) -> Deployments:
        """The ledger's present fold."""
        return self._follower.deployments

    @property
    def is_late(self) -> bool:
        """Whether the last look is too long ago to be relied on."""
        return time.monotonic() - self.looked > LATE_LOOKS * self.settings.gate_seconds + 10

    async def start(self) -> None:
        """Follow the ledger and begin to look."""
        await self._follower.start()
        self._labels.start()
        self._tasks = [
            asyncio.create_task(self._look_often(), name="gate"),
            asyncio.create_task(self._watch_often(), name="watch"),
        ]

    async def stop(self) -> None:
        """Stop looking and disconnect. A cancellation alone may be lost: see `scorer.ledger.Follower.stop`."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._labels.stop()
        await self._follower.stop()
        await self.redis.aclose()

    async def _noted(self, deployments: Deployments) -> None:
        metrics.SUGGESTIONS.set(len(deployments.open_suggestions()))
        for name, slot in deployments.slots.items():
            if slot.is_empty:
                metrics.SLOT_EPOCH.remove_by_labels({"slot": name})
            else:
                metrics.SLOT_EPOCH.labels(name).set(slot.epoch)

    def store(self, slot: str) -> TallyReader:
        """The store of a slot."""
        return TallyReader(self.redis, slot, self.release.segments.names, self.settings.prefix)

    async def _look_often(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.look_at_all()
                self.trouble, self.looked = None, time.monotonic()
            except (*AWAY, UserError) as error:
                metrics.GATE_ERRORS.inc()
                self.trouble = str(error)
                log.warning("the gate cannot look: %s", error)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.settings.gate_seconds)

    async def look_at_all(self) -> None:
        """Judge every candidate slot, put the findings into the metrics, and suggest what is ready."""
        deployments = self.deployments
        slots = judged_slots(deployments, self.settings)
        for gone in set(self.looks) - set(slots):
            del self.looks[gone]
            gauges.forget(gone)
        control = await control_totals(self.redis, deployments, self.release, self.settings) if slots else None
        if control is None:
            metrics.OUTCOMES.remove_by_labels({"slot": self.settings.control})
        for slot in slots:
            before = self.looks.get(slot)
            with metrics.GATE_SECONDS.time():
                seen = await look(self.redis, deployments, slot, self.release, self.settings, before, control)
            if before is None or before.judgement.decision is not seen.judgement.decision:
                log.info("slot %s: %s", slot, seen.judgement.reason)
            self.looks[slot] = seen
            if before is not None:
                gauges.drop(before, seen)
            gauges.show(seen)
            if seen.control is not None:
                gauges.show_outcomes(self.settings.control, seen.control)
            suggestion = proposal(
                deployments, seen, self.release, await asyncio.to_thread(self._known, deployments, slot)
            )
            if suggestion is not None:
                line = await suggest(self.settings, suggestion)
                log.info("slot %s: suggested (ledger %s)", slot, line.seq)

    async def _watch_often(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.watch()
            except (*AWAY, KafkaError, UserError) as error:
                metrics.WATCH_ERRORS.inc()
                for gauge in (metrics.UNREAD, metrics.RETENTION_USED, metrics.REDIS_USED, metrics.REDIS_LIMIT):
                    gauge.clear()  # what is not known any more is not shown
                log.warning("cannot see how far the slots are: %s", error)
            await self._pause()

    async def watch(self) -> None:
        """Put into the metrics how far every slot is behind the topic, and how full Redis is."""
        for node, (used, limit) in (await memory(self.redis)).items():
            metrics.REDIS_USED.labels(node).set(used)
            metrics.REDIS_LIMIT.labels(node).set(limit)
        parts = await partitions_of(self.settings, self.settings.topics.decisions)
        if not parts:
            return
        async with reader(self.settings) as consumer:
            ends = await spans(consumer, parts)
        filled = {name for name, slot in self.deployments.slots.items() if slot.digest and name != LIVE}
        for gone in self._watched - filled:
            metrics.UNREAD.remove_by_labels({"slot": gone})
            metrics.RETENTION_USED.remove_by_labels({"slot": gone})
        self._watched = filled
        for slot in filled:
            fences = {part.partition: part.next for part in await self.store(slot).progress()}
            seen = backlog(ends, fences)
            metrics.UNREAD.labels(slot).set(seen.unread)
            metrics.RETENTION_USED.labels(slot).set(seen.retention_used)

    def _known(self, deployments: Deployments, slot: str) -> dict[str, Any]:
        digest = deployments.slot(slot).digest
        try:
            manifest = self._bundles.fetch(str(digest)).manifest
        except UserError as error:
            return {"digest": digest, "trouble": str(error)}
        return {
            "digest": digest,
            "code_version": manifest.code_version,
            "training": manifest.training.model_dump() if manifest.training else None,
            "view": manifest.view.id,
            "metrics": manifest.metrics.get("overall"),
        }
