"""Runs the gate regularly, writes its suggestions, and follows the ledger and the labels."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime

from scorer.bundles.manifest import Manifest
from scorer.deployments.deploy import now
from scorer.deployments.ledger import Follower
from scorer.deployments.pending import outdated
from scorer.deployments.records import Suggestion
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.tasks import Tasks
from shadow import metrics
from shadow.gate.challenge import challenge
from shadow.gate.criteria import Release
from shadow.intake.topic import LabelTail
from shadow.notify.notifier import Notifier
from shadow.release.history import forced_by_verdict
from shadow.release.lapse import Lapse, lapse, unsettled
from shadow.release.look import Look, control_totals, judged_slots, look, present_run
from shadow.release.obstacles import verdict_of
from shadow.release.suggestion import proposal, suggest, withdraw
from shadow.serve import gauges
from shadow.serve.automation import Automatic
from shadow.serve.papers import Papers
from shadow.serve.release_watch import ReleaseWatch
from shadow.serve.watch import Watch
from shadow.settings import ShadowSettings
from shadow.store.connection import AWAY, connect
from shadow.store.labels import LabelStore
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader

log = logging.getLogger(__name__)

#: `/readyz` fails once the last look is older than this many intervals of the gate.
LATE_LOOKS = 5
#: Longest wait for an entry that is on the ledger to come here.
CATCH_UP_SECONDS = 5.0
TOO_OLD = "the last evaluation of the gate is too old; see the log of `shadow serve`"


class Serve:
    """What the API answers from: a Redis client, the current state of the ledger, and the last look at each slot.

    looks: by slot. looked: monotonic time of the last complete round of looks. trouble: why there is none; None if all
    is well.
    """

    def __init__(self, settings: ShadowSettings, release: Release) -> None:
        self.settings, self.release = settings, release
        self.redis = connect(settings.redis)
        self.looks: dict[str, Look] = {}
        self.looked = time.monotonic()
        self.trouble: str | None = "starting"
        self.failure: Exception | None = None  # of a task, which stopped all of it
        self.papers = Papers(settings)
        self._follower = Follower(settings, self._noted)
        self._labels = LabelTail(settings, LabelStore(self.redis, settings.prefix, settings.label_days))
        self._tasks = Tasks(self._task_ended)
        self._stopping, self._news = asyncio.Event(), asyncio.Event()
        self._watch = Watch(settings, self.redis, self.store)
        self._automatic = Automatic(settings)
        self.release_watch = ReleaseWatch(settings, self.redis, self.papers)
        self._notifier = Notifier(settings, self.redis)

    @property
    def deployments(self) -> Deployments:
        """The current state of the ledger."""
        return self._follower.deployments

    @property
    def is_late(self) -> bool:
        """Whether the last look is too old to rely on."""
        return time.monotonic() - self.looked > LATE_LOOKS * self.settings.gate_seconds + 10

    async def until(self, seq: str) -> None:
        """Wait until an entry of the ledger has come here, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while all(line.seq != seq for line in reversed(self.deployments.ledger)):
                    await self._news.wait()

    async def start(self) -> None:
        """Start following the ledger and the labels, judging slots and watching backlogs."""
        await self._follower.start(self._tasks.start)
        for work, name in (
            (self._labels.run(), "labels"),
            (self._look_often(), "gate"),
            (self._watch_often(), "watch"),
            (self._notify_often(), "notify"),
        ):
            self._tasks.start(work, name)

    async def stop(self) -> None:
        """Stop all of it and disconnect. A flag is set, too, as a cancellation may get lost: see `Follower.stop`."""
        self._stopping.set()
        self._labels.stop()
        self._follower.stop()
        await self._tasks.stop()
        await self.redis.aclose()

    async def _task_ended(self, error: Exception) -> None:
        """Stop all of `shadow serve` when one of its tasks fails, so that it never shows outdated data."""
        if not self._stopping.is_set():
            self.failure = error
            self.trouble = str(error)
            signal.raise_signal(signal.SIGTERM)

    async def _noted(self, deployments: Deployments) -> None:
        self._news.set()  # for those who wait now
        self._news = asyncio.Event()
        self._count_suggestions(deployments)
        for verdict, many in forced_by_verdict(deployments).items():
            metrics.FORCED.labels(verdict).set(many)
        for name, slot in deployments.slots.items():
            if slot.is_empty:
                metrics.SLOT_EPOCH.remove_by_labels({"slot": name})
            else:
                metrics.SLOT_EPOCH.labels(name).set(slot.epoch)

    def store(self, slot: str) -> TallyReader:
        """The store of a slot."""
        return TallyReader(self.redis, slot, self.release.segments.names, self.settings.prefix)

    def samples(self, slot: str) -> SampleReader:
        """The samples of a slot."""
        return SampleReader(self.redis, slot, self.settings.prefix)

    def manifest(self, digest: str) -> Manifest:
        """The manifest of a bundle, kept in memory. May wait for the store. Raises BundleError."""
        return self.papers.manifest(digest)

    async def _look_often(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.look_at_all()
                self.trouble, self.looked = None, time.monotonic()
            except (*AWAY, UserError) as error:
                metrics.GATE_ERRORS.inc()
                self.trouble = str(error)
                log.warning("the gate cannot judge: %s", error)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.settings.gate_seconds)

    async def look_at_all(self) -> None:
        """Judge every candidate slot, export the findings as metrics, suggest the candidates that are ready, and take
        back suggestions of those that no longer are."""
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
            await self._keep_suggestion(deployments, seen)
        await self.release_watch.look(deployments, self.release)
        await self._automatic.act(self.deployments)
        self._count_suggestions(deployments)

    async def _keep_suggestion(self, deployments: Deployments, seen: Look) -> None:
        """Withdraw the slot's suggestion if the look does not bear it out, or suggest the candidate if it does."""
        slot, at = seen.slot, datetime.now(UTC)
        if present_run(deployments, slot) != seen.candidate.run:
            return  # the look was at something else
        judged = verdict_of(seen.judgement, self.release.digest)
        for line in outdated(deployments, slot, judged.decision, self.release.digest, at):
            why = Lapse("verdict", f"the verdict is another one: {judged.reason}")
            if await withdraw(self.settings, line.seq, why, "shadow serve") is not None:
                log.info("slot %s: first approval %s is withdrawn: %s", slot, line.seq, why.reason)
        found = unsettled(deployments, slot)
        if found is not None:
            seq, suggestion = found
            lapsed = lapse(suggestion, seen.judgement, self.release.digest, at)
            if lapsed is not None and await withdraw(self.settings, seq, lapsed, "shadow serve") is not None:
                log.info("slot %s: suggestion %s is withdrawn: %s", slot, seq, lapsed.reason)
            return
        known = await asyncio.to_thread(self.papers.known, str(deployments.slot(slot).digest))
        proposed = proposal(deployments, seen, self.release, known, now())
        if proposed is not None:
            line = await suggest(self.settings, await asyncio.to_thread(self._whole, deployments, seen, proposed))
            log.info("slot %s: suggested for promotion (ledger entry %s)", slot, line.seq)

    def _whole(self, deployments: Deployments, seen: Look, proposed: Suggestion) -> Suggestion:
        """A suggestion with the kind of its change, what planted harm would have come to, and its dossier."""
        proposed = proposed.model_copy(update={"change": self.papers.change_of(deployments, seen.slot)})
        if seen.evidence is None:
            return proposed
        planted = challenge(seen.evidence, self.release)
        told = {**proposed.evidence, "challenge": {"stopped": round(planted.stopped, 4), "copies": planted.copies}}
        proposed = proposed.model_copy(update={"evidence": told})
        return self.papers.with_dossier(deployments, proposed, seen.evidence, seen.judgement, self.release, planted)

    def _count_suggestions(self, deployments: Deployments) -> None:
        metrics.SUGGESTIONS.set(len(deployments.open_suggestions(datetime.now(UTC))))

    async def _watch_often(self) -> None:
        while not self._stopping.is_set():
            await self._watch.look(self.deployments)
            await self._pause()

    async def _notify_often(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._notifier.tell(self.deployments, self.looks.values())
            except AWAY as error:
                log.warning("nobody can be told of releases, as nobody knows who was: %s", error)
            await self._pause()
