"""Watches live after a release, and suggests to put the model before it back where live is found to be worse."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from scorer.deployments.ledger import append
from scorer.deployments.records import PREVIOUS
from scorer.deployments.slots import Deployments
from shadow import metrics
from shadow.gate.criteria import Release
from shadow.release.after_release import (
    BY,
    Afterwards,
    epochs,
    is_refused,
    lapse_of_rollback,
    look_afterwards,
    report,
    rollback_proposal,
    told_in_words,
    without_cases,
)
from shadow.release.complaints import ComplaintLook
from shadow.release.complaints_look import look_at_complaints
from shadow.release.lapse import unsettled
from shadow.release.suggestion import suggest, withdraw
from shadow.serve.papers import Papers
from shadow.settings import ShadowSettings

#: Time between two looks at complaints.
COMPLAINT_SECONDS = 300.0

log = logging.getLogger(__name__)


class ReleaseWatch:
    """What the watch sees. last: its last look, complaints: what they say; None while nothing is to be watched."""

    def __init__(self, settings: ShadowSettings, redis: Any, papers: Papers) -> None:
        self._settings, self._redis, self._papers = settings, redis, papers
        self.last: Afterwards | None = None
        self.complaints: ComplaintLook | None = None
        self._asked: tuple[float, dict[str, int]] | None = None

    async def look(self, deployments: Deployments, release: Release) -> None:
        """Look once, and write to the ledger what has come of it."""
        seen = await look_afterwards(self._redis, deployments, release, self._settings)
        self._show(deployments, seen)
        await self._look_at_complaints(deployments, release)
        if seen is None:
            return
        await self._keep_suggestion(deployments, seen)
        found = report(deployments, seen)
        if found is not None and epochs(deployments) == seen.expects:
            await append(self._settings, lambda _: found)
            log.info("the watch over live ended: %s", seen.reason)

    async def _look_at_complaints(self, deployments: Deployments, release: Release) -> None:
        """Compare them once in a while, and after each release: days change slowly, and reading them takes long."""
        now, of = time.monotonic(), epochs(deployments)
        if self._asked is not None and self._asked[1] == of and now - self._asked[0] < COMPLAINT_SECONDS:
            return
        seen = await look_at_complaints(self._redis, deployments, release, self._settings)
        self._asked = now, of
        if seen is not None and seen.is_risen and not (self.complaints is not None and self.complaints.is_risen):
            log.warning("%s", seen.reason)
        self.complaints = seen
        is_known = seen is not None and seen.thin is None
        metrics.COMPLAINTS_RISEN.set(float(seen.is_risen) if seen is not None and is_known else float("nan"))
        for period, rate in (("before", seen and seen.before), ("after", seen and seen.after)):
            metrics.COMPLAINT_RATIO.labels(period).set(rate.value if rate and is_known else float("nan"))

    def _show(self, deployments: Deployments, seen: Afterwards | None) -> None:
        if seen is not None and (self.last is None or self.last.is_harm != seen.is_harm) and seen.is_harm:
            log.warning("%s", seen.reason)
        self.last = None if seen is None else without_cases(seen)
        is_news = seen is not None and seen.is_harm and not is_refused(deployments, seen)
        metrics.LIVE_WORSE.set(float("nan") if seen is None else float(is_news))
        metrics.WATCHED_SECONDS.set(float("nan") if seen is None else seen.period.days(seen.at) * 86_400)
        metrics.WATCHED.set(float("nan") if seen is None else seen.compared)

    async def _keep_suggestion(self, deployments: Deployments, seen: Afterwards) -> None:
        found = unsettled(deployments, PREVIOUS)
        if found is not None:
            seq, suggestion = found
            why = lapse_of_rollback(suggestion, seen)
            if why is not None and await withdraw(self._settings, seq, why, BY) is not None:
                log.info("suggestion %s to roll back is withdrawn: %s", seq, why.reason)
            return
        known = await asyncio.to_thread(self._papers.known, str(deployments.slot(PREVIOUS).digest))
        proposed = rollback_proposal(deployments, seen, known)
        if proposed is None:
            return
        made = await asyncio.to_thread(
            self._papers.with_dossier, deployments, proposed, seen.evidence, seen.judgement, seen.criteria
        )
        line = await suggest(self._settings, told_in_words(made, seen.reason))
        log.warning("a rollback is suggested (ledger entry %s): %s", line.seq, seen.reason)
