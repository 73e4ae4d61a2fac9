"""Which model is live in this worker: loads, verifies and warms bundles as the live slot asks for them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from scorer import metrics
from scorer.bundle import Bundle
from scorer.deployments import LIVE, Change, Deployments, Prepare, Slot, WorkerReport
from scorer.errors import UserError
from scorer.features import Matrix
from scorer.pipeline import LiveModel, Scores
from scorer.store import BundleStore
from scorer.view import FeatureView

log = logging.getLogger(__name__)


def live_model(slot: Slot, bundle: Bundle | None, view: FeatureView) -> LiveModel:
    """What a slot and its bundle decide together. Raises BundleError if the bundle does not fit the view."""
    if bundle is None:
        return LiveModel(slot.digest, slot.epoch, None, slot.override, None)
    columns = bundle.columns(view)

    def score(matrix: Matrix) -> Scores:
        return bundle.score(np.ascontiguousarray(matrix[:, columns]))

    threshold = bundle.threshold if slot.threshold is None else slot.threshold
    return LiveModel(bundle.digest, slot.epoch, threshold, slot.override, score)


class LiveLoader:
    """Holds the live model, and follows the live slot."""

    def __init__(self, store: BundleStore, view: FeatureView) -> None:
        self._store, self._view = store, view
        self._prepared: dict[str, Bundle] = {}
        self._prepared_for = ""  # ledger entry that asked last
        self._made: datetime | None = None
        self._is_behind = False
        self.model: LiveModel | None = None
        self.report: WorkerReport | None = None

    async def follow(self, deployments: Deployments) -> bool:
        """Take up what is new on the ledger; returns whether `report` changed. Never raises for a bad bundle."""
        before = self.report
        slot = deployments.slot(LIVE)
        asked = _asked(deployments)
        if asked is not None and asked[0] != self._prepared_for:
            self._prepared_for = asked[0]
            await self._prepare(asked[1])
        if self.model is None or slot.epoch != self.model.epoch:
            await self._swap(slot, deployments)
        return self.report is not before

    def require(self) -> LiveModel:
        """The live model. Raises UserError while there is none."""
        if self.model is None:
            raise UserError("slot live: is empty; fill it with `scorer deploy BUNDLE --slot live --by … --reason …`")
        return self.model

    @property
    def is_behind(self) -> bool:
        """Whether the live slot asks for another model than this worker could load."""
        return self._is_behind

    @property
    def age_seconds(self) -> float:
        """Age of the live bundle since it was made, NaN without one."""
        return (datetime.now(UTC) - self._made).total_seconds() if self._made is not None else float("nan")

    async def _prepare(self, digest: str) -> None:
        try:
            self._prepared[digest] = await asyncio.to_thread(self._load, digest)
        except UserError as error:
            log.error("cannot prepare bundle %s: %s", digest[:12], error)
            self.report = _report(digest, request=self._prepared_for, reason=str(error))
        else:
            log.info("prepared bundle %s", digest[:12])
            self.report = _report(digest, request=self._prepared_for)

    def _load(self, digest: str) -> Bundle:
        bundle = self._store.fetch(digest)
        bundle.columns(self._view)
        bundle.warm()
        return bundle

    async def _swap(self, slot: Slot, deployments: Deployments) -> None:
        if slot.is_empty:
            return
        bundle: Bundle | None = None
        if slot.digest is not None:
            try:
                bundle = self._prepared.pop(slot.digest, None) or await asyncio.to_thread(self._load, slot.digest)
            except UserError as error:
                self.report = _report(slot.digest, epoch=slot.epoch, reason=str(error))
                if slot.override is None:
                    await self._fall_back(slot, deployments, error)
                    return
                log.error("cannot load bundle %s under the override: %s", slot.digest[:12], error)
        self._install(slot, bundle)
        self._behind(False)
        if slot.digest is not None and bundle is not None:
            self.report = _report(slot.digest, epoch=slot.epoch)

    async def _fall_back(self, slot: Slot, deployments: Deployments, error: UserError) -> None:
        """Go on with what there is; a worker without a model takes the newest that its cache and the ledger share."""
        self._behind(True)
        if self.model is not None:
            log.error("cannot load live bundle %s: %s", str(slot.digest)[:12], error)
            return
        cached = set(self._store.cached())
        for was in reversed(deployments.was_live):
            if was.digest is not None and was.digest in cached:
                try:
                    bundle = await asyncio.to_thread(self._load, was.digest)
                except UserError:
                    continue
                log.error("cannot load live bundle %s: %s", str(slot.digest)[:12], error)
                log.error("going on with bundle %s of epoch %d", was.digest[:12], was.epoch)
                self._install(replace(was, override=None), bundle)
                return
        raise error

    def _behind(self, is_behind: bool) -> None:
        self._is_behind = is_behind
        metrics.MODEL_BEHIND.set(is_behind)

    def _install(self, slot: Slot, bundle: Bundle | None) -> None:
        self.model = live_model(slot, bundle, self._view)
        self._made = bundle.manifest.created_at if bundle is not None else None
        self._prepared.clear()
        metrics.EPOCH.set(slot.epoch)
        threshold = self.model.threshold if slot.override is None else None
        metrics.THRESHOLD.set(float("nan") if threshold is None else threshold)
        for override in ("allow_all", "block_all"):
            metrics.OVERRIDE.labels(override).set(slot.override == override)
        log.info("live: bundle %s, epoch %d, override %s", str(slot.digest)[:12], slot.epoch, slot.override or "none")


def _asked(deployments: Deployments) -> tuple[str, str] | None:
    """Ledger entry and digest of the last request to prepare, unless live has changed since."""
    for line in reversed(deployments.ledger):
        if isinstance(line.entry, Prepare):
            return line.seq, line.entry.digest
        if isinstance(line.entry, Change) and not line.is_void and LIVE in line.entry.slots:
            return None
    return None


def _report(
    digest: str, epoch: int | None = None, request: str | None = None, reason: str | None = None
) -> WorkerReport:
    return WorkerReport(
        digest=digest,
        status="loaded" if reason is None else "failed",
        epoch=epoch,
        request=request,
        reason=reason,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
