"""The model in a slot: follows the slot, loads its bundle, and scores snapshots of any feature view on the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.bundle import Bundle
from scorer.deployments import Deployments
from scorer.errors import BundleError, UserError
from scorer.store import BundleStore
from shadow import metrics

log = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """What a slot holds. bundle is None where it could not be loaded: then nothing can be scored.

    views: names and definitions of the feature views on the ledger.
    """

    digest: str
    epoch: int
    threshold: float
    bundle: Bundle | None
    views: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def score(self, view: str, matrix: Matrix) -> Matrix:
        """Scores of snapshots of a view, NaN where the candidate cannot score: float64 (n,). Never raises."""
        nothing = np.full(len(matrix), np.nan)
        if self.bundle is None or view not in self.views:
            return nothing
        try:
            return self.bundle.score(own_columns(self.bundle, self.views[view], matrix))
        except Exception as error:  # whatever a candidate does, the shadow counts it and goes on
            log.warning("bundle %s cannot score: %s", self.digest[:12], error)
            return nothing


def own_columns(bundle: Bundle, view: dict[str, Any], matrix: Matrix) -> Matrix:
    """The columns of snapshots that a bundle uses. Raises BundleError if the view does not fit it."""
    columns = bundle.columns_in(tuple(view["names"]), view["definitions"])
    return np.ascontiguousarray(matrix[:, columns])


class SlotFollower:
    """Keeps `candidate` what the slot asks for; None while the slot is empty."""

    def __init__(self, slot: str, store: BundleStore, on_change: Callable[[], None] = lambda: None) -> None:
        self.slot, self._store, self._on_change = slot, store, on_change
        self._epoch = -1
        self.candidate: Candidate | None = None

    async def follow(self, deployments: Deployments) -> None:
        """Take up what is new on the ledger. Never raises for a bad bundle."""
        state = deployments.slot(self.slot)
        if state.epoch == self._epoch and (self.candidate is None or self.candidate.views == deployments.views):
            return
        candidate: Candidate | None = None
        if state.digest is not None:
            bundle: Bundle | None = None
            threshold = state.threshold
            try:
                bundle = await asyncio.to_thread(self._load, state.digest)
                threshold = bundle.threshold if threshold is None else threshold
            except UserError as error:
                log.error("slot %s: cannot load bundle %s: %s", self.slot, state.digest[:12], error)
            metrics.MODEL_BROKEN.labels(self.slot).set(bundle is None)
            metrics.THRESHOLD.labels(self.slot).set(float("nan") if threshold is None else threshold)
            candidate = Candidate(state.digest, state.epoch, threshold or 0.0, bundle, dict(deployments.views))
        else:
            for gauge in (metrics.THRESHOLD, metrics.MODEL_BROKEN, metrics.MODEL_AGE):
                gauge.remove_by_labels({"slot": self.slot})
        if state.epoch != self._epoch:
            held = f"bundle {candidate.digest[:12]}" if candidate else "empty"
            log.info("slot %s: %s, epoch %d", self.slot, held, state.epoch)
        self._epoch, self.candidate = state.epoch, candidate
        self._on_change()

    def _load(self, digest: str) -> Bundle:
        bundle = self._store.fetch(digest)
        try:
            bundle.warm()
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(f"bundle {digest[:12]}: cannot score ({error})") from None
        return bundle
