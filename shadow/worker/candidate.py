"""The candidate in a slot: follows the slot on the ledger, loads its bundle, and scores snapshots."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scorer.bundles.bundle import Bundle
from scorer.bundles.predictor import PREDICTORS
from scorer.bundles.store import BundleStore
from scorer.deployments.records import PublishedView
from scorer.deployments.slots import Deployments, Slot
from scorer.errors import BundleError, UnavailableError, UserError
from scorer.pipeline.batch import Matrix
from scorer.pipeline.instants import instant_ms
from shadow import metrics

log = logging.getLogger(__name__)

#: Time until a bundle that could not be had is tried again.
AGAIN_SECONDS = 5.0
#: How far the clocks of those that fill slots and of those that append decisions may be apart.
CLOCKS_MS = 3_600_000
#: Later than every record.
NEVER_MS = 2**63 - 1


@dataclass(frozen=True)
class Candidate:
    """The candidate of one epoch. bundle: None if it could not be loaded; then every score is NaN.

    threshold: score from which it blocks. views: every published feature view, by id. since_ms: when its slot was
    filled, milliseconds since 1970; 0 where whoever asks chooses the decisions.
    """

    digest: str
    epoch: int
    threshold: float
    bundle: Bundle | None
    views: Mapping[str, PublishedView] = field(default_factory=dict)
    since_ms: int = 0

    def score(self, view: str, matrix: Matrix) -> Matrix:
        """Scores of n snapshots of a view: float64 (n,), NaN if the candidate cannot score them. Never raises."""
        nothing = np.full(len(matrix), np.nan)
        if self.bundle is None or view not in self.views:
            return nothing
        try:
            return self.bundle.score(own_columns(self.bundle, self.views[view], matrix))
        except Exception as error:  # a broken candidate must not stop the shadow: it is counted as errors
            log.warning("bundle %s cannot score: %s", self.digest[:12], error)
            return nothing


def own_columns(bundle: Bundle, view: PublishedView, matrix: Matrix) -> Matrix:
    """The columns of a snapshot that a bundle uses, in its order. Raises BundleError if the view lacks one of them."""
    columns = bundle.columns_in(view.names, view.definitions)
    return np.ascontiguousarray(matrix[:, columns])


def filled_ms(state: Slot) -> int:
    """When a slot was filled, milliseconds since 1970; `NEVER_MS` if the ledger does not say: then nothing is after."""
    try:
        return instant_ms(state.since or "")
    except ValueError:
        return NEVER_MS


class SlotFollower:
    """Keeps `candidate` up to date with a slot; it is None while the slot is empty.

    is_current: set while `candidate` is what the slot holds, cleared while that is being loaded, and while it cannot be
    had just now: transactions then wait. A bundle that cannot be used has a candidate of its own, whose scores are NaN.
    is_away: whether it could not be had at the last try.
    """

    def __init__(self, slot: str, store: BundleStore) -> None:
        self.slot, self._store = slot, store
        self._epoch = -1
        self._deployments = Deployments()
        self._loading, self._is_waiting = asyncio.Lock(), asyncio.Event()
        self.candidate: Candidate | None = None
        self.is_current = asyncio.Event()
        self.is_away = False

    async def follow(self, deployments: Deployments) -> None:
        """Load what the slot holds now, if that is new. A bundle that cannot be loaded is logged, not raised."""
        self._deployments = deployments
        async with self._loading:
            await self._follow(self._deployments)

    def since_ms(self) -> int:
        """Before when nothing counts for what the slot holds, or will hold, milliseconds since 1970."""
        state, now_ms = self._deployments.slot(self.slot), time.time_ns() // 1_000_000
        return now_ms - CLOCKS_MS if state.digest is None else min(filled_ms(state), now_ms)

    async def try_again(self) -> None:
        """Load what could not be had, until cancelled."""
        while True:
            await self._is_waiting.wait()
            await asyncio.sleep(AGAIN_SECONDS)
            await self.follow(self._deployments)

    async def _follow(self, deployments: Deployments) -> None:
        state = deployments.slot(self.slot)
        if state.epoch == self._epoch and (self.candidate is None or self.candidate.views == deployments.views):
            self.is_away = False
            self.is_current.set()
            self._is_waiting.clear()
            return
        self.is_current.clear()
        self._is_waiting.clear()
        candidate: Candidate | None = None
        if state.digest is not None:
            bundle: Bundle | None = None
            threshold = state.threshold
            try:
                bundle = await asyncio.to_thread(self._load, state.digest)
                threshold = bundle.threshold if threshold is None else threshold
            except UnavailableError as error:
                log.warning("slot %s: %s; its transactions wait", self.slot, error)
                metrics.MODEL_BROKEN.labels(self.slot).set(True)
                self.is_away = True
                self._is_waiting.set()
                return
            except UserError as error:
                log.error("slot %s: cannot load bundle %s: %s", self.slot, state.digest[:12], error)
            metrics.MODEL_BROKEN.labels(self.slot).set(bundle is None)
            metrics.THRESHOLD.labels(self.slot).set(float("nan") if threshold is None else threshold)
            for name in PREDICTORS:
                metrics.PREDICTOR.labels(self.slot, name).set(bundle is not None and bundle.predictor == name)
            views, since_ms = dict(deployments.views), filled_ms(state)
            if since_ms == NEVER_MS:
                log.error(
                    "slot %s: was filled at %r, which is no time; deploy its bundle again", self.slot, state.since
                )
            candidate = Candidate(state.digest, state.epoch, threshold or 0.0, bundle, views, since_ms)
        else:
            for gauge in (metrics.THRESHOLD, metrics.MODEL_BROKEN, metrics.MODEL_AGE, metrics.PREDICTOR):
                gauge.remove_by_labels({"slot": self.slot})
        if state.epoch != self._epoch:
            held = f"bundle {candidate.digest[:12]}" if candidate else "empty"
            if candidate and candidate.bundle:
                held += f", predictor {candidate.bundle.predictor}"
            log.info("slot %s: %s, epoch %d", self.slot, held, state.epoch)
        self._epoch, self.candidate = state.epoch, candidate
        self.is_away = False
        self.is_current.set()

    def _load(self, digest: str) -> Bundle:
        bundle = self._store.fetch(digest)
        try:
            bundle.warm()
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(f"bundle {digest[:12]}: cannot score ({error})") from None
        return bundle
