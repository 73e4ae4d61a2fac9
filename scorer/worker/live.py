"""Keeps this worker's live model up to date: loads, verifies and warms the bundle that the live slot asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.bundles.bundle import Bundle
from scorer.bundles.function_proof import prove_functions
from scorer.bundles.predictor import PREDICTORS
from scorer.bundles.store import BundleStore
from scorer.deployments.records import LIVE, Change, Prepare, WorkerReport
from scorer.deployments.slots import Deployments, Slot
from scorer.errors import UserError
from scorer.pipeline.batch import LiveModel, Matrix, Scores
from scorer.pipeline.view import FeatureView

log = logging.getLogger(__name__)

#: How often a load or a report that failed is tried again.
RETRY_SECONDS = 2.0


def live_model(slot: Slot, bundle: Bundle | None, view: FeatureView) -> LiveModel:
    """The live model that a slot and its bundle make; without a bundle, only the slot's override decides.

    Raises BundleError if the bundle does not fit the view.
    """
    if bundle is None:
        return LiveModel(slot.digest, slot.epoch, slot.threshold, slot.override, None)
    columns = bundle.columns(view)

    def score(matrix: Matrix) -> Scores:
        return bundle.score(np.ascontiguousarray(matrix[:, columns]))

    threshold = bundle.threshold if slot.threshold is None else slot.threshold
    return LiveModel(bundle.digest, slot.epoch, threshold, slot.override, score)


class LiveLoader:
    """Holds the live model and follows the live slot.

    `note` takes up at once what needs no bundle, so that nothing, not even a store that hangs, holds up the kill
    switch; `load` does the rest. model: None until a bundle is loaded or an override is on. report: what to write to
    the deployments topic about the last load.
    """

    def __init__(self, store: BundleStore, view: FeatureView) -> None:
        self._store, self._view = store, view
        self._wanted = Slot()
        self._was_live: list[Slot] = []
        self._asked: tuple[str, str] | None = None  # ledger entry and digest of the last request to prepare
        self._prepared_for = ""
        self._prepared: dict[str, Bundle] = {}
        self._bundle: Bundle | None = None  # of the model, or of the one before the override
        self._failed = -1  # epoch of the last slot whose bundle could not be loaded
        self._news, self._reported = asyncio.Event(), asyncio.Event()
        self.model: LiveModel | None = None
        self.report: WorkerReport | None = None

    def note(self, deployments: Deployments) -> None:
        """Take note of what the deployments ask for, and do what needs no bundle: an override, or the end of one."""
        self._wanted, self._was_live = deployments.slot(LIVE), deployments.was_live
        self._asked = _asked(deployments)
        self._apply()
        self._news.set()

    async def load(self) -> None:
        """Load what is asked for.

        A bundle that cannot be loaded is logged and reported, and the worker goes on with the model it has. Raises
        UserError only if it has none and finds none in its cache.
        """
        if self._asked is not None and self._asked[0] != self._prepared_for:
            self._prepared_for = self._asked[0]
            await self._prepare(self._asked[1])
        while not self._apply():
            slot = self._wanted
            try:
                self._prepared[str(slot.digest)] = await asyncio.to_thread(self._load, str(slot.digest))
            except UserError as error:
                if slot is self._wanted:
                    await self._fall_back(slot, error)
                    return

    async def run(self) -> None:
        """Load whatever is asked for, until cancelled; what could not be loaded is tried again."""
        while True:
            await _news(self._news, RETRY_SECONDS if self.is_behind else None)
            try:
                await self.load()
            except UserError as error:
                log.error("no live model: %s", error)

    async def tell(self, write: Callable[[WorkerReport], Awaitable[None]]) -> None:
        """Write every new report, until cancelled. write: raises KafkaError while the topic cannot be written."""
        told: WorkerReport | None = None
        while True:
            await _news(self._reported, RETRY_SECONDS if told is not self.report else None)
            report = self.report
            if report is None or report is told:
                continue
            try:
                await write(report)
                told = report
            except KafkaError as error:
                log.warning("could not report to the deployments topic, will try again: %s", error)

    def require(self) -> LiveModel:
        """The live model. Raises UserError while there is none."""
        if self.model is None:
            raise UserError("slot live: is empty; fill it with `scorer deploy BUNDLE --slot live --by … --reason …`")
        return self.model

    @property
    def is_behind(self) -> bool:
        """Whether this worker could not load what the live slot asks for, and decides with another model."""
        return self._failed == self._wanted.epoch

    @property
    def age_seconds(self) -> float:
        """Seconds since the data of the live bundle ended, or it was made if it does not say; NaN without one."""
        if self._bundle is None:
            return float("nan")
        return (datetime.now(UTC) - self._bundle.manifest.counts_from).total_seconds()

    def _held(self, digest: str | None) -> Bundle | None:
        if self._bundle is not None and self._bundle.digest == digest:
            return self._bundle
        return self._prepared.get(digest) if digest is not None else None

    def _apply(self) -> bool:
        """Install what the live slot asks for if that is at hand; whether there is nothing left to load for it."""
        slot = self._wanted
        if slot.is_empty or (self.model is not None and self.model.epoch == slot.epoch):
            return True
        bundle = self._held(slot.digest)
        if bundle is None and slot.override is None:
            return False
        self._install(slot, bundle)
        self._failed = -1
        metrics.MODEL_BEHIND.set(False)
        self._say(slot.digest, epoch=slot.epoch)
        return True

    async def _prepare(self, digest: str) -> None:
        request = self._prepared_for
        try:
            self._prepared[digest] = await asyncio.to_thread(self._load, digest)
        except UserError as error:
            log.error("cannot prepare bundle %s: %s", digest[:12], error)
            self._say(digest, request=request, reason=str(error))
        else:
            log.info("prepared bundle %s", digest[:12])
            self._say(digest, request=request)

    def _load(self, digest: str) -> Bundle:
        bundle = self._store.fetch(digest)
        bundle.columns(self._view)
        prove_functions(self._view, bundle.manifest.features)
        bundle.warm()
        return bundle

    async def _fall_back(self, slot: Slot, error: UserError) -> None:
        """Go on with what there is. A worker without a model takes the newest that its cache and the ledger share."""
        is_news = self._failed != slot.epoch
        self._failed = slot.epoch
        metrics.MODEL_BEHIND.set(True)
        self._say(slot.digest, epoch=slot.epoch, reason=str(error))
        if self.model is not None:
            if is_news:
                log.error("cannot load live bundle %s, trying again: %s", str(slot.digest)[:12], error)
            return
        cached = set(self._store.cached())
        for was in reversed(self._was_live):
            if was.digest is not None and was.digest in cached:
                try:
                    bundle = await asyncio.to_thread(self._load, was.digest)
                except UserError:
                    continue
                if self._wanted is slot:
                    log.error("cannot load live bundle %s: %s", str(slot.digest)[:12], error)
                    log.error("going on with bundle %s of epoch %d", was.digest[:12], was.epoch)
                    self._install(replace(was, override=None), bundle)
                    self._say(slot.digest, epoch=slot.epoch, reason=str(error))
                return
        raise error

    def _install(self, slot: Slot, bundle: Bundle | None) -> None:
        self.model = live_model(slot, bundle, self._view)
        self._bundle = bundle or self._bundle
        self._prepared.clear()
        metrics.EPOCH.set(slot.epoch)
        threshold = self.model.threshold if slot.override is None else None
        metrics.THRESHOLD.set(float("nan") if threshold is None else threshold)
        for override in ("allow_all", "block_all"):
            metrics.OVERRIDE.labels(override).set(slot.override == override)
        predictor = "none" if bundle is None else bundle.predictor
        for name in PREDICTORS:
            metrics.PREDICTOR.labels(name).set(predictor == name)
        log.info(
            "live: bundle %s, epoch %d, override %s, predictor %s",
            str(slot.digest)[:12], slot.epoch, slot.override or "none", predictor,
        )  # fmt: skip

    def _say(
        self, digest: str | None, epoch: int | None = None, request: str | None = None, reason: str | None = None
    ) -> None:
        self.report = WorkerReport(
            digest=digest,
            status="loaded" if reason is None else "failed",
            epoch=epoch,
            request=request,
            reason=reason,
            runs=None if self.model is None else self.model.epoch,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        self._reported.set()


async def _news(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, or until so many seconds are over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


def _asked(deployments: Deployments) -> tuple[str, str] | None:
    """Ledger entry and digest of the last request to prepare; None if there is none, or live has changed since."""
    for line in reversed(deployments.ledger):
        if isinstance(line.entry, Prepare):
            return line.seq, line.entry.digest
        if isinstance(line.entry, Change) and not line.is_void and LIVE in line.entry.slots:
            return None
    return None
