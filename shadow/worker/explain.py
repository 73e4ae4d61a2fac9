"""Explains why two models score a transaction differently: their LightGBM contributions, feature by feature."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from scorer.bundles.bundle import Bundle
from scorer.bundles.store import BundleStore
from scorer.deployments.records import PublishedView
from scorer.errors import UserError
from shadow.comparison.sample import Contribution, Sample
from shadow.store.tallies import TallyStore
from shadow.worker.candidate import own_columns

#: Features in an explanation.
TOP = 8
#: Bundles kept in memory for the explanations of each slot, live ones and candidates.
HELD = 4


def differences(
    live: Bundle, candidate: Bundle, view: PublishedView, snapshot: npt.NDArray[np.float64], top: int = TOP
) -> list[Contribution]:
    """The features whose contributions differ most, largest difference first.

    snapshot: float64 (features of the view,). Contributions are in log-odds; a feature that a model does not use
    contributes 0. Source: TreeSHAP (Lundberg, Erion and Lee 2018), which LightGBM computes as `pred_contrib`.
    """
    contributed: list[dict[str, float]] = []
    for bundle in (live, candidate):
        row = bundle.contributions(own_columns(bundle, view, snapshot[None, :]))[0]
        contributed.append(dict(zip(bundle.features, row[:-1].tolist(), strict=True)))
    ours, theirs = contributed
    names = list(dict.fromkeys([*ours, *theirs]))
    names.sort(key=lambda name: -abs(theirs.get(name, 0.0) - ours.get(name, 0.0)))
    values = dict(zip(view.names, snapshot.tolist(), strict=True))
    return [
        Contribution(
            feature=name,
            value=None if np.isnan(values[name]) else values[name],
            live=ours.get(name, 0.0),
            candidate=theirs.get(name, 0.0),
            difference=theirs.get(name, 0.0) - ours.get(name, 0.0),
        )
        for name in names[:top]
    ]


class Explainer:
    """Explains samples: a few at a time in the background, or one at once that somebody wants to see."""

    def __init__(self, bundles: BundleStore, slots: int = 1) -> None:
        self._bundles, self._most = bundles, HELD * slots
        self._held: dict[str, Bundle] = {}
        self.views: Mapping[str, PublishedView] = {}

    async def explain_some(self, store: TallyStore, partitions: Sequence[int], most: int) -> int:
        """Explain at most `most` unexplained samples of these partitions. Returns the number explained."""
        done, left = 0, most
        for partition in partitions:
            if left <= 0:
                break
            waiting = await store.unexplained(partition, left)
            left -= len(waiting)
            for name, sample in waiting:
                done += await store.explain(partition, name, await asyncio.to_thread(self.explained, sample))
        return done

    def explained(self, sample: Sample) -> Sample:
        """The sample with its explanation; computes it if the sample has none, which takes milliseconds."""
        return sample if sample.why else sample.explained(self.why(sample))

    def why(self, sample: Sample) -> list[Contribution]:
        """Why the models differ on a sample; empty if a bundle or the feature view is unavailable, or not the one that
        the snapshot was made for."""
        view = self.views.get(sample.view)
        if view is None or sample.live.bundle is None or sample.candidate.bundle is None:
            return []
        if len(sample.features) != len(view.names):
            return []
        try:
            live, candidate = self._bundle(sample.live.bundle), self._bundle(sample.candidate.bundle)
            return differences(live, candidate, view, np.array(sample.features, dtype=np.float64))
        except UserError:
            return []

    def _bundle(self, digest: str) -> Bundle:
        if digest not in self._held:
            if len(self._held) >= self._most:
                self._held.pop(next(iter(self._held)))
            self._held[digest] = self._bundles.fetch(digest)
        return self._held[digest]
